{{/* Port of the producer's metrics: one of its own if its HTTP port asks for keys. */}}
{{- define "reprise.producer.metricsPort" -}}
{{- ternary "metrics" "http" (not (empty .Values.producer.apiKeys.existingSecret)) -}}
{{- end -}}
