{{/* Components that the status page polls, each with the name and number of its container's port. */}}
{{- define "reprise.status.sources" -}}
predictor: {port: metrics, number: 9090}
producer: {port: metrics, number: 9090}
materializer: {port: metrics, number: 8002}
archiver: {port: metrics, number: 8003}
rollout: {port: metrics, number: 9090}
{{- end -}}

{{/*
Headless Service of all pods of a component, including those that are not ready, so that the status page can show their
reasons. Takes (list $ "predictor" "metrics").
*/}}
{{- define "reprise.metricsService" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "reprise.name" (list $root (printf "%s-metrics" $component)) }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "reprise.labels" (list $root $component) | nindent 4 }}
spec:
  {{- include "reprise.ipFamilies" $root | nindent 2 }}
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "reprise.selector" (list $root $component) | nindent 4 }}
  ports:
    - name: metrics
      port: {{ index (include "reprise.status.sources" $root | fromYaml) $component "number" }}
      targetPort: {{ index . 2 }}
{{- end -}}

{{/* Whether the status page reads the report of the scoring job. */}}
{{- define "reprise.status.hasReport" -}}
{{- if and .Values.status.enabled .Values.status.report.enabled .Values.scoring.enabled }}true{{ end -}}
{{- end -}}

{{/* STATUS_TARGETS: the enabled components. */}}
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

{{/* Ingress rule that admits the status page. Takes (list $ "metrics"). */}}
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
