{{/* Address of the Pushgateway and this release's group in it, as data of a ConfigMap. */}}
{{- define "reprise.pushgateway.config" -}}
{{- with .Values.monitoring.pushgateway -}}
PUSHGATEWAY_URL: {{ . }}
PUSHGATEWAY_GROUPING: {{ dict "namespace" $.Release.Namespace "app_kubernetes_io_instance" $.Release.Name | toJson | squote }}
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
