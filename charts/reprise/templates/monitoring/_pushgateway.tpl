{{/* Where jobs push their metrics, as data of a ConfigMap. */}}
{{- define "reprise.pushgateway.config" -}}
{{- with .Values.monitoring.pushgateway -}}
PUSHGATEWAY_URL: {{ . }}
{{- end -}}
{{- end -}}

{{/* The way there, as an egress rule. */}}
{{- define "reprise.egress.pushgateway" -}}
{{- with .Values.monitoring.pushgateway -}}
# the Pushgateway
- ports:
    - port: {{ regexFind "[0-9]+$" (regexFind ":[0-9]+$" (urlParse .).host) | default (ternary "80" "443" (eq (urlParse .).scheme "http")) }}
{{- end -}}
{{- end -}}
