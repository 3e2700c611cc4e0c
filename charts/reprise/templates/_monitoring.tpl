{{/* Takes (list $ "predictor" "metrics"): the component and its container's port with /metrics. */}}
{{- define "reprise.podMonitor" -}}
{{- $root := index . 0 -}}
{{- $this := list $root (index . 1) }}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "reprise.metadata" $this | nindent 2 }}
    {{- with $root.Values.monitoring.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "reprise.selector" $this | nindent 6 }}
  podTargetLabels: [app.kubernetes.io/component]
  podMetricsEndpoints:
    - port: {{ index . 2 }}
      path: /metrics
      interval: {{ $root.Values.monitoring.interval }}
      # Prometheus' operator has a label "endpoint", too, which would rename ours
      honorLabels: true
{{- end -}}
