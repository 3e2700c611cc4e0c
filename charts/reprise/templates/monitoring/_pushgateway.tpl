{{/* Address of the Pushgateway, as data of a ConfigMap. */}}
{{- define "reprise.pushgateway.config" -}}
{{- with .Values.monitoring.pushgateway -}}
PUSHGATEWAY_URL: {{ . }}
{{- end -}}
{{- end -}}

{{/* Egress to the Pushgateway. */}}
{{- define "reprise.egress.pushgateway" -}}
{{- with .Values.monitoring.pushgateway -}}
# the Pushgateway
- ports:
    - port: {{ include "reprise.url.port" . }}
{{- end -}}
{{- end -}}
