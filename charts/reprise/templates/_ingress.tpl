{{/* The Ingress and the HTTPRoute of a component's Service. Takes (list $ "status" ingress port paths), where a path is
     (list "/status" "Exact"), or no paths, which are then the values'. */}}
{{- define "reprise.exposed" -}}
{{- $this := list (index . 0) (index . 1) -}}
{{- $ingress := index . 2 -}}
{{- $port := index . 3 -}}
{{- $paths := list -}}
{{- if gt (len .) 4 -}}
{{- $paths = index . 4 -}}
{{- else -}}
{{- range prepend $ingress.additionalPaths $ingress }}{{ $paths = append $paths (list .path .pathType) }}{{ end -}}
{{- end -}}
{{- $name := include "reprise.name" $this -}}
{{- $hosts := compact (prepend $ingress.additionalHosts $ingress.host) -}}
{{- if $ingress.enabled }}
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
    - hosts: {{ toJson $hosts }}
      secretName: {{ $ingress.tls.secretName | default (printf "%s-tls" $name) }}
  {{- end }}
  rules:
    {{- range $host := $hosts | default (list "") }}
    - {{- with $host }}
      host: {{ . | quote }}
      {{- end }}
      http:
        paths:
          {{- range $paths }}
          - path: {{ index . 0 }}
            pathType: {{ index . 1 }}
            backend:
              service:
                name: {{ $name }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end }}
{{- if $ingress.gateways }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "reprise.metadata" $this | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml $ingress.gateways | nindent 4 }}
  {{- with $hosts }}
  hostnames: {{ toJson . }}
  {{- end }}
  rules:
    - matches:
        {{- range $paths }}
        - path: {type: {{ ternary "Exact" "PathPrefix" (eq (index . 1) "Exact") }}, value: {{ index . 0 }}}
        {{- end }}
      backendRefs:
        - {name: {{ $name }}, port: {{ $port }}}
{{- end }}
{{- end -}}
