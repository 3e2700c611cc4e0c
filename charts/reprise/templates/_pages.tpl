{{/* Ingress rule for the visitors of such a UI. Takes (list $ .Values.kafdrop.ingress). */}}
{{- define "reprise.ingress.page" -}}
{{- if or (index . 1).enabled (index . 1).gateways }}
{{- include "reprise.ingress.from" (list (index . 0) "pagesFrom" "http") }}
{{- end }}
{{- end -}}
