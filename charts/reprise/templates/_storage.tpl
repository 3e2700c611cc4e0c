{{/* Folders and buckets that components share: models, offline, history. Helpers for one take (list $ "models"). */}}

{{- define "reprise.storage.url" -}}
{{- $storage := index (index . 0).Values.storage (index . 1) -}}
{{- get $storage "url" | default (printf "/var/lib/reprise/%s" (index . 1)) -}}
{{- end -}}

{{- define "reprise.storage.claim" -}}
{{- $storage := index (index . 0).Values.storage (index . 1) -}}
{{- $storage.volume.existingClaim | default (printf "%s-%s" (include "reprise.fullname" (index . 0)) (index . 1)) -}}
{{- end -}}

{{/* Volume mounts. Takes (list $ (list "models" "offline") true): the storages, and whether to mount them read-only. */}}
{{- define "reprise.storage.mounts" -}}
{{- $root := index . 0 -}}
{{- $readOnly := index . 2 -}}
{{- range index . 1 }}
{{- if not (get (index $root.Values.storage .) "url") }}
- name: {{ . }}
  mountPath: /var/lib/reprise/{{ . }}
  readOnly: {{ $readOnly }}
{{- end }}
{{- end }}
{{- if and (has "models" (index . 1)) $root.Values.storage.models.trustedKeys }}
- name: trusted-keys
  mountPath: /etc/reprise/trusted-keys
  readOnly: true
{{- end }}
{{- end -}}

{{- define "reprise.storage.volumes" -}}
{{- $root := index . 0 -}}
{{- range index . 1 }}
{{- if not (get (index $root.Values.storage .) "url") }}
- name: {{ . }}
  persistentVolumeClaim:
    claimName: {{ include "reprise.storage.claim" (list $root .) }}
{{- end }}
{{- end }}
{{- if and (has "models" (index . 1)) $root.Values.storage.models.trustedKeys }}
- name: trusted-keys
  configMap:
    name: {{ include "reprise.fullname" $root }}-trusted-keys
{{- end }}
{{- end -}}

{{/* Model store, and the keys by one of which its bundles have to be signed. Takes (list $ "MODEL_STORE"). */}}
{{- define "reprise.models.config" -}}
{{ index . 1 }}: {{ include "reprise.storage.url" (list (index . 0) "models") }}
{{- if (index . 0).Values.storage.models.trustedKeys }}
REPRISE_TRUSTED_KEYS_FILE: /etc/reprise/trusted-keys/trusted.pem
{{- end }}
{{- end -}}

{{/* Private key that signs models. */}}
{{- define "reprise.signing.mounts" -}}
{{- if .Values.storage.models.signingKeySecret }}
- name: signing-key
  mountPath: /etc/reprise/signing-key
  readOnly: true
{{- end }}
{{- end -}}

{{- define "reprise.signing.volumes" -}}
{{- with .Values.storage.models.signingKeySecret }}
- name: signing-key
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* S3 settings by the variables of boto and s3fs. */}}
{{- define "reprise.s3.config" -}}
{{- with .Values.storage.s3.endpointUrl }}
AWS_ENDPOINT_URL: {{ . | quote }}
{{- end }}
{{- with .Values.storage.s3.region }}
AWS_DEFAULT_REGION: {{ . | quote }}
{{- end }}
{{- if .Values.storage.s3.caSecret.name }}
AWS_CA_BUNDLE: /etc/reprise/s3/ca.crt
{{- end }}
{{- end -}}

{{/* Whether a component reads or writes the object store. Takes (list $ "predictor"). */}}
{{- define "reprise.s3.reads" -}}
{{- if has (index . 1) (list "predictor" "archiver" "compaction" "scoring" "trainer" "backfill" "forget" "rollout" "outcomes" "doctor" "feast" "seed") -}}true{{- end -}}
{{- end -}}

{{/* The CA of the object store's certificate, for reprise.extra. */}}
{{- define "reprise.s3.ca.extraVolumes" -}}
{{- with .Values.storage.s3.caSecret }}
{{- if .name -}}
- name: s3-ca
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.s3.ca.extraVolumeMounts" -}}
{{- if .Values.storage.s3.caSecret.name -}}
- name: s3-ca
  mountPath: /etc/reprise/s3
  readOnly: true
{{- end }}
{{- end -}}

{{/* The Secret of a component, or the one of all. Takes (list $ "predictor"). */}}
{{- define "reprise.s3.secret" -}}
{{- with (index . 0).Values.storage.s3 -}}
{{- get (.existingSecrets | default dict) (index $ 1) | default .existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "reprise.s3.env" -}}
{{- with include "reprise.s3.secret" . }}
{{- $secret := . }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.feast.registry" -}}
{{- .Values.feast.registry | default (printf "%s/feast/registry.db" (include "reprise.storage.url" (list . "offline"))) -}}
{{- end -}}

{{- define "reprise.s3.used" -}}
{{- if or (hasPrefix "s3://" .Values.storage.models.url) (hasPrefix "s3://" .Values.storage.offline.url) (and .Values.scoring.enabled (hasPrefix "s3://" .Values.scoring.out)) -}}true{{- end -}}
{{- end -}}
