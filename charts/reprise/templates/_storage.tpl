{{/* Folders and buckets that components share: models, offline, history. Helpers for one take (list $ "models"). */}}

{{- define "reprise.storage.url" -}}
{{- $storage := index (index . 0).Values.storage (index . 1) -}}
{{- get $storage "url" | default (printf "/var/lib/reprise/%s" (index . 1)) -}}
{{- end -}}

{{- define "reprise.scoring.out" -}}
{{- .Values.scoring.out | default (printf "%s/scores" (include "reprise.storage.url" (list . "offline") | trimSuffix "/")) -}}
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
{{- if and (has "models" (index . 1)) (include "reprise.trustedKeys" $root) }}
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
{{- if and (has "models" (index . 1)) (include "reprise.trustedKeys" $root) }}
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

{{/* The files of public keys: of models, the routing document and the evidence. */}}
{{- define "reprise.trustedKeys" -}}
{{- range $name, $keys := dict "trusted" .Values.storage.models.trustedKeys "routing" .Values.rollout.signing.trustedKeys "evidence" .Values.outcomes.signing.trustedKeys }}
{{- with $keys }}
{{ $name }}.pem: |
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.routing.config" -}}
{{- if .Values.rollout.signing.trustedKeys -}}
REPRISE_ROUTING_TRUSTED_KEYS_FILE: /etc/reprise/trusted-keys/routing.pem
{{- end }}
{{- end -}}

{{/* Private key that signs what a component publishes. Take the name of its Secret. */}}
{{- define "reprise.signing.mounts" -}}
{{- if . }}
- name: signing-key
  mountPath: /etc/reprise/signing-key
  readOnly: true
{{- end }}
{{- end -}}

{{- define "reprise.signing.volumes" -}}
{{- with . }}
- name: signing-key
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* The object store that the values name, `s3`, `gcs` or `azure`; empty without one. */}}
{{- define "reprise.objects.store" -}}
{{- $stores := list -}}
{{- $spark := ternary .Values.trainer.spark dict (include "reprise.spark" . | eq "true") -}}
{{- range list ($spark.files | default "") ($spark.eventLogs | default "") .Values.storage.models.url .Values.storage.offline.url (ternary .Values.scoring.out "" .Values.scoring.enabled) (ternary (.Values.feast.registry | default "") "" .Values.feast.enabled) -}}
{{- $stores = append $stores (get (dict "s3" "s3" "gs" "gcs" "abfs" "azure") (splitList "://" . | first)) -}}
{{- end -}}
{{- $stores = $stores | compact | uniq -}}
{{- if gt (len $stores) 1 -}}
{{- fail (printf "models, offline store, scores, Feast's registry and files of Spark are in %s, and an image has the client of one of them: take addresses of one object store" (join " and " $stores)) -}}
{{- end -}}
{{- join "" $stores -}}
{{- end -}}

{{/* Settings of the object store by the variables of its client. */}}
{{- define "reprise.objects.config" -}}
{{- with .Values.storage.s3.endpointUrl }}
AWS_ENDPOINT_URL: {{ . | quote }}
{{- end }}
{{- with .Values.storage.s3.region }}
AWS_DEFAULT_REGION: {{ . | quote }}
{{- end }}
{{- if .Values.storage.s3.caSecret.name }}
AWS_CA_BUNDLE: /etc/reprise/s3/ca.crt
{{- end }}
{{- with .Values.storage.azure.account }}
AZURE_STORAGE_ACCOUNT_NAME: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Whether a component reads or writes the object store. Takes (list $ "predictor"). */}}
{{- define "reprise.objects.reads" -}}
{{- if has (index . 1) (list "predictor" "archiver" "compaction" "scoring" "trainer" "backfill" "forget" "rollout" "outcomes" "doctor" "feast" "seed") -}}true
{{- else if and (eq (index . 1) "status") (include "reprise.status.hasReport" (index . 0)) -}}true
{{- end -}}
{{- end -}}

{{/* The CA of the object store's certificate and the key file of its client, for reprise.extra. Take (list $ "predictor"). */}}
{{- define "reprise.objects.extraVolumes" -}}
{{- with (index . 0).Values.storage.s3.caSecret }}
{{- if .name -}}
- name: s3-ca
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- if include "reprise.objects.hasKeyFile" . }}
- name: gcs-key
  secret:
    secretName: {{ include "reprise.objects.secret" . }}
    items: [{key: key.json, path: key.json}]
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "reprise.objects.extraVolumeMounts" -}}
{{- if (index . 0).Values.storage.s3.caSecret.name -}}
- name: s3-ca
  mountPath: /etc/reprise/s3
  readOnly: true
{{- end }}
{{- if include "reprise.objects.hasKeyFile" . }}
- name: gcs-key
  mountPath: /etc/reprise/gcs
  readOnly: true
{{- end }}
{{- end -}}

{{- define "reprise.objects.hasKeyFile" -}}
{{- if and (eq (include "reprise.objects.store" (index . 0)) "gcs") (include "reprise.objects.secret" .) -}}true{{- end -}}
{{- end -}}

{{/* The Secret of a component, or the one of all. Takes (list $ "predictor"). */}}
{{- define "reprise.objects.secret" -}}
{{- with index (index . 0).Values.storage (include "reprise.objects.store" (index . 0) | default "s3") -}}
{{- $secrets := .existingSecrets | default dict -}}
{{- get $secrets (index $ 1) | default (get $secrets (trimSuffix "-ui" (index $ 1))) | default .existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "reprise.objects.env" -}}
{{- if include "reprise.objects.hasKeyFile" . }}
- name: GOOGLE_APPLICATION_CREDENTIALS
  value: /etc/reprise/gcs/key.json
{{- else }}
{{- with include "reprise.objects.secret" . }}
{{- $secret := . }}
{{- range ternary (list "AZURE_STORAGE_CONNECTION_STRING") (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY") (eq (include "reprise.objects.store" (index $ 0)) "azure") }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Feast's UI has no login, so it can have credentials that only read. */}}
{{- define "reprise.uiObjects.env" -}}
{{- include "reprise.objects.env" (list (index . 0) "feast-ui") -}}
{{- end -}}

{{- define "reprise.feast.registry" -}}
{{- .Values.feast.registry | default (printf "%s/feast/registry.db" (include "reprise.storage.url" (list . "offline"))) -}}
{{- end -}}
