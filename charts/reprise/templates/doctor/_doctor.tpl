{{/* Mounted storages: models, and the offline store if it holds Feast's registry. */}}
{{- define "reprise.doctor.storage" -}}
- models
{{- if and .Values.feast.enabled (not .Values.feast.registry) }}
- offline
{{- end }}
{{- end -}}

{{/* API keys of predictor and producer, and the Redis users to check. Takes (list $ "doctor"). */}}
{{- define "reprise.doctor.env" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.predictor.apiKeys.testSecret }}
- name: DOCTOR_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: key}
{{- end }}
{{- with $root.Values.producer.apiKeys.testSecret }}
- name: DOCTOR_PRODUCER_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: key}
{{- end }}
{{- $auth := $root.Values.redis.external.auth -}}
{{- if and (eq $root.Values.redis.mode "external") $auth.existingSecret $auth.perComponent }}
{{- range list "materializer" "predictor" }}
- name: DOCTOR_{{ upper . }}_REDIS_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ $auth.existingSecret }}
      key: {{ . }}-username
{{- end }}
{{- end }}
{{- end -}}
