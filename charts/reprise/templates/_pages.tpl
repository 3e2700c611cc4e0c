{{/* Ingress of a web UI with its own host. Takes (list $ "kafdrop" .Values.kafdrop.ingress). */}}
{{- define "reprise.page.ingress" -}}
{{- $this := list (index . 0) (index . 1) -}}
{{- $ingress := index . 2 -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "reprise.metadata" $this | nindent 2 }}
  {{- with $ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- if $ingress.tls.enabled }}
  tls:
    - hosts: [{{ $ingress.host | quote }}]
      secretName: {{ $ingress.tls.secretName | default (printf "%s-tls" (include "reprise.name" $this)) }}
  {{- end }}
  rules:
    - host: {{ $ingress.host | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "reprise.name" $this }}
                port:
                  name: http
{{- end -}}

{{/* Ingress rule for the visitors of such a UI. Takes (list $ .Values.kafdrop.ingress). */}}
{{- define "reprise.ingress.page" -}}
{{- if (index . 1).enabled }}
# the Ingress controller
- from:
    {{- toYaml (index . 0).Values.networkPolicy.pagesFrom | nindent 4 }}
  ports:
    - port: http
{{- end }}
{{- end -}}
