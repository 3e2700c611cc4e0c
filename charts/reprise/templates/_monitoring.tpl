{{/* PodMonitor of a component. Takes (list $ "predictor" "metrics"): the component and its container's port of /metrics. */}}
{{- define "reprise.podMonitor" -}}
{{- $root := index . 0 -}}
{{- $this := list $root (index . 1) }}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "reprise.metadata" (append $this $root.Values.monitoring.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "reprise.selector" $this | nindent 6 }}
  podTargetLabels: [app.kubernetes.io/component, app.kubernetes.io/instance]
  podMetricsEndpoints:
    - port: {{ index . 2 }}
      path: /metrics
      interval: {{ $root.Values.monitoring.interval }}
      # the Prometheus operator also sets a label "endpoint", which would rename ours
      honorLabels: true
{{- end -}}
