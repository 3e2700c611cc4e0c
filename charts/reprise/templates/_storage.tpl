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
{{- end -}}

{{/* S3 settings by the variables of boto and s3fs. */}}
{{- define "reprise.s3.config" -}}
{{- with .Values.storage.s3.endpointUrl }}
AWS_ENDPOINT_URL: {{ . | quote }}
{{- end }}
{{- with .Values.storage.s3.region }}
AWS_DEFAULT_REGION: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "reprise.s3.env" -}}
{{- with .Values.storage.s3.existingSecret }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.storage.s3.existingSecret }}
      key: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.feast.registry" -}}
{{- .Values.feast.registry | default (printf "%s/feast/registry.db" (include "reprise.storage.url" (list . "offline"))) -}}
{{- end -}}

{{- define "reprise.s3.used" -}}
{{- if or (hasPrefix "s3://" .Values.storage.models.url) (hasPrefix "s3://" .Values.storage.offline.url) -}}true{{- end -}}
{{- end -}}
