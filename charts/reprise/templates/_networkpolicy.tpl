{{/* Egress rules that several components share. */}}

{{- define "reprise.egress.dns" -}}
# DNS
- ports:
    {{- range .Values.networkPolicy.dnsPorts }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{- define "reprise.egress.api" -}}
# the Kubernetes API
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
  {{- with .Values.networkPolicy.apiServerTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "reprise.egress.kafka" -}}
# Kafka
{{- if eq .Values.kafka.mode "strimzi" }}
- to:
    - podSelector:
        matchLabels:
          strimzi.io/cluster: {{ include "reprise.kafka.cluster" . }}
          strimzi.io/kind: Kafka
  ports:
    - port: 9093
{{- else }}
{{- $ports := list }}
{{- range splitList "," .Values.kafka.external.bootstrapServers }}{{ $ports = append $ports (splitList ":" . | last) }}{{ end }}
- ports:
    {{- range uniq $ports }}
    - port: {{ . }}
    {{- end }}
  {{- with .Values.networkPolicy.kafkaTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.egress.redis" -}}
# the online store
{{- if eq .Values.redis.mode "bundled" }}
- to:
    - podSelector:
        matchLabels:
          {{- include "reprise.selector" (list . "redis") | nindent 10 }}
  ports:
    - port: redis
{{- else }}
- ports:
    - port: {{ int .Values.redis.external.port }}
    {{- range splitList "," .Values.redis.external.nodes | compact }}
    {{- $port := splitList ":" . | last | int }}
    {{- if ne $port (int $.Values.redis.external.port) }}
    - port: {{ $port }}
    {{- end }}
    {{- end }}
  {{- with .Values.networkPolicy.redisTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.egress.s3" -}}
{{- with include "reprise.objects.store" . }}
{{- $storage := index $.Values.storage . }}
{{- $endpoint := get $storage "endpointUrl" | default "https://s3" }}
# the object store
- ports:
    - port: {{ include "reprise.url.port" $endpoint }}
  {{- with $.Values.networkPolicy.s3To }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if $storage.workloadIdentity }}
# agents of workload identity; other roles come from the cloud's API, on the port above
{{- range $.Values.networkPolicy.identityAgents }}
- to:
    - ipBlock: {cidr: {{ .cidr | quote }}}
  ports:
    - port: {{ .port }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Egress to the trace collector if the component exports traces. Takes (list $ "predictor"). */}}
{{- define "reprise.egress.traces" -}}
{{- $root := index . 0 -}}
{{- $settings := (index $root.Values (index . 1)).settings -}}
{{- if $settings.REPRISE_TRACES }}
{{- $endpoint := $settings.OTEL_EXPORTER_OTLP_ENDPOINT | default "http://localhost:4318" }}
# the trace collector
- ports:
    - port: {{ include "reprise.url.port" $endpoint }}
  {{- with $root.Values.networkPolicy.tracesTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/*
Ingress rule for peers of the values; none if there are no peers, because an empty list in a rule matches everyone. Takes
(list $ "predictorFrom" "http").
*/}}
{{- define "reprise.ingress.from" -}}
{{- with index (index . 0).Values.networkPolicy (index . 1) }}
# networkPolicy.{{ index $ 1 }}
- from:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: {{ index $ 2 }}
{{- end }}
{{- end -}}

{{/* Ingress rule for the scrapers of a component's metrics. Takes (list $ "predictor" "metrics"). */}}
{{- define "reprise.ingress.metrics" -}}
{{- $root := index . 0 -}}
{{- $analysed := and $root.Values.rollout.enabled $root.Values.rollout.prometheus.url (eq (index . 1) "predictor") }}
{{- if or $root.Values.monitoring.enabled $analysed }}
{{- include "reprise.ingress.from" (list $root "metricsFrom" (index . 2)) }}
{{- end }}
{{- end -}}

{{/* Port of a URL; that of its scheme if it names none. Takes the URL. */}}
{{- define "reprise.url.port" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{- end -}}
