{{/* Ingress rule for the visitors of such a UI. Takes (list $ .Values.kafdrop.ingress). */}}
{{- define "reprise.ingress.page" -}}
{{- if or (index . 1).enabled (index . 1).gateways }}
# the Ingress controller or gateway
- from:
    {{- toYaml (index . 0).Values.networkPolicy.pagesFrom | nindent 4 }}
  ports:
    - port: http
{{- end }}
{{- end -}}
