{{/* What the status page looks at, each with the name of its container's port and that port's number. */}}
{{- define "reprise.status.sources" -}}
predictor: {port: metrics, number: 9090}
producer: {port: http, number: 8001}
materializer: {port: metrics, number: 8002}
archiver: {port: metrics, number: 8003}
rollout: {port: metrics, number: 9090}
{{- end -}}

{{/*
Takes (list $ "predictor" "metrics"): a name that stands for the addresses of all pods of a component, also of those that
are not ready, so that whoever looks finds each and hears why.
*/}}
{{- define "reprise.metricsService" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "reprise.name" (list $root (printf "%s-metrics" $component)) }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "reprise.labels" (list $root $component) | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "reprise.selector" (list $root $component) | nindent 4 }}
  ports:
    - name: metrics
      port: {{ index (include "reprise.status.sources" $root | fromYaml) $component "number" }}
      targetPort: {{ index . 2 }}
{{- end -}}

{{/* STATUS_TARGETS: the components that are there. */}}
{{- define "reprise.status.scrape.targets" -}}
{{- $targets := list -}}
{{- range $name := list "predictor" "producer" "materializer" "archiver" "rollout" -}}
{{- if (index $.Values $name).enabled -}}
{{- $number := index (include "reprise.status.sources" $ | fromYaml) $name "number" -}}
{{- $targets = append $targets (printf "%s=http://%s:%d" $name (include "reprise.name" (list $ (printf "%s-metrics" $name))) (int $number)) -}}
{{- end -}}
{{- end -}}
{{- join "," $targets -}}
{{- end -}}

{{/* Takes (list $ "metrics"): lets the status page in, as a rule of the policy of what it looks at. */}}
{{- define "reprise.ingress.status" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.status.enabled }}
# the status page
- from:
    - podSelector:
        matchLabels:
          {{- include "reprise.selector" (list $root "status") | nindent 10 }}
  ports:
    - port: {{ index . 1 }}
{{- end }}
{{- end -}}
