{{/* Kafka connection of a component. Each takes (list $ "predictor"). */}}

{{- define "reprise.kafka.cluster" -}}
{{ include "reprise.fullname" . }}-kafka
{{- end -}}

{{/* Bootstrap servers by names that resolve in every namespace: KEDA reads the lag from its own. */}}
{{- define "reprise.kafka.servers" -}}
{{- if eq .Values.kafka.mode "strimzi" -}}
{{ include "reprise.kafka.cluster" . }}-kafka-bootstrap.{{ .Release.Namespace }}.svc:9093
{{- else -}}
{{ .Values.kafka.external.bootstrapServers }}
{{- end -}}
{{- end -}}

{{/* Strimzi's own containers under the restricted Pod Security Standard, which its default provider does not satisfy. */}}
{{- define "reprise.kafka.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "reprise.kafka.config" -}}
{{- $root := index . 0 -}}
{{- $external := $root.Values.kafka.external -}}
KAFKA_CLIENT_ID: {{ include "reprise.name" . }}
{{- with $root.Values.kafka.topicPrefix }}
KAFKA_TOPIC_PREFIX: {{ . | quote }}
{{- end }}
KAFKA_PARTITIONS: {{ include "reprise.partitions" $root | quote }}
KAFKA_PREDICTIONS_RETENTION: {{ int $root.Values.kafka.predictionsRetentionHours }}h
{{- if eq $root.Values.kafka.mode "strimzi" }}
KAFKA_SERVERS: {{ include "reprise.kafka.servers" $root }}
KAFKA_SECURITY_PROTOCOL: SASL_SSL
KAFKA_SASL_MECHANISM: SCRAM-SHA-512
KAFKA_CA_FILE: /etc/reprise/kafka/ca.crt
{{- else }}
KAFKA_SERVERS: {{ include "reprise.kafka.servers" $root | quote }}
KAFKA_SECURITY_PROTOCOL: {{ $external.securityProtocol }}
{{- if hasPrefix "SASL" $external.securityProtocol }}
KAFKA_SASL_MECHANISM: {{ $external.saslMechanism }}
{{- end }}
{{- if $external.caSecret.name }}
KAFKA_CA_FILE: /etc/reprise/kafka/ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.kafka.env" -}}
{{- $root := index . 0 -}}
{{- $external := $root.Values.kafka.external -}}
{{- if eq $root.Values.kafka.mode "strimzi" }}
- name: KAFKA_USERNAME
  value: {{ include "reprise.name" . }}
- name: KAFKA_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "reprise.name" . }}
      key: password
{{- else if hasPrefix "SASL" $external.securityProtocol }}
{{- $prefix := ternary (printf "%s-" (index . 1)) "" $external.auth.perComponent }}
- name: KAFKA_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ $external.auth.existingSecret }}
      key: {{ $prefix }}username
- name: KAFKA_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $external.auth.existingSecret }}
      key: {{ $prefix }}password
{{- end }}
{{- end -}}

{{- define "reprise.kafka.mounts" -}}
{{- if or (eq .Values.kafka.mode "strimzi") .Values.kafka.external.caSecret.name }}
- name: kafka-ca
  mountPath: /etc/reprise/kafka
  readOnly: true
{{- end }}
{{- end -}}

{{- define "reprise.kafka.volumes" -}}
{{- $ca := .Values.kafka.external.caSecret -}}
{{- if eq .Values.kafka.mode "strimzi" }}
- name: kafka-ca
  secret:
    secretName: {{ include "reprise.kafka.cluster" . }}-cluster-ca-cert
    items: [{key: ca.crt, path: ca.crt}]
{{- else if $ca.name }}
- name: kafka-ca
  secret:
    secretName: {{ $ca.name }}
    items: [{key: {{ $ca.key }}, path: ca.crt}]
{{- end }}
{{- end -}}

{{/* Number of partitions: more consumers would be idle. */}}
{{- define "reprise.partitions" -}}
{{ int .Values.kafka.partitions }}
{{- end -}}

{{- define "reprise.materializer.scaled" -}}
{{- if and .Values.materializer.autoscaling.keda.enabled (.Capabilities.APIVersions.Has "keda.sh/v1alpha1") -}}true{{- end -}}
{{- end -}}

{{/*
Consumer group of a component, so that releases on one Kafka do not share the events of one group. A release keeps the group
that it has, because another one would read the topic again from its start; so does the release reprise in the namespace
reprise where nothing can be looked up.
*/}}
{{- define "reprise.group" -}}
{{- $release := (index . 0).Release -}}
{{- $live := (lookup "v1" "ConfigMap" $release.Namespace (include "reprise.name" .)).data | default dict -}}
{{- $default := ternary (index . 1) (printf "%s.%s.%s" $release.Namespace $release.Name (index . 1)) (and (eq $release.Namespace "reprise") (eq $release.Name "reprise")) -}}
{{- (index (index . 0).Values (index . 1)).group | default (get $live (printf "%s_GROUP" (upper (index . 1)))) | default $default -}}
{{- end -}}

{{/* Kafka ACLs of each component, explained in docs/kafka.md. */}}
{{- define "reprise.kafka.acls" -}}
{{- $prefix := .Values.kafka.topicPrefix -}}
# appends predictions
predictor:
  - {type: topic, name: {{ $prefix }}ecommerce-predictions, operations: [Write, Describe]}
# appends events
producer:
  - {type: topic, name: {{ $prefix }}ecommerce-events, operations: [Write, Describe]}
# reads events in its group, appends invalid ones to the dead letters
materializer:
  - {type: topic, name: {{ $prefix }}ecommerce-events, operations: [Read, Describe]}
  - {type: topic, name: {{ $prefix }}ecommerce-events-dlq, operations: [Write, Describe]}
  - {type: topic, name: {{ $prefix }}ecommerce-predictions, operations: [Describe]}
  - {type: group, name: {{ include "reprise.group" (list . "materializer") | quote }}, operations: [Read, Describe]}
# reads both topics, each in its own group
archiver:
  - {type: topic, name: {{ $prefix }}ecommerce-events, operations: [Read, Describe]}
  - {type: topic, name: {{ $prefix }}ecommerce-predictions, operations: [Read, Describe]}
  - {type: group, name: {{ include "reprise.group" (list . "archiver") }}-, patternType: prefix, operations: [Read, Describe]}
# --seek-group commits offsets for the materializer
backfill:
  - {type: topic, name: {{ $prefix }}ecommerce-events, operations: [Read, Describe]}
  - {type: group, name: {{ include "reprise.group" (list . "materializer") | quote }}, operations: [Read, Describe]}
# appends erasures, and reads the ends of the topics in its group
forget:
  - {type: topic, name: {{ $prefix }}ecommerce-events, operations: [Read, Write, Describe]}
  - {type: topic, name: {{ $prefix }}ecommerce-predictions, operations: [Read, Describe]}
  - {type: group, name: {{ include "reprise.group" (list . "forget") | quote }}, operations: [Read, Describe]}
# compares topics with their declaration; without a producer it appends the canary's event itself
doctor:
  - {type: topic, name: {{ $prefix }}ecommerce-, patternType: prefix, operations: [Describe, DescribeConfigs]}
  {{- if not .Values.producer.enabled }}
  - {type: topic, name: {{ $prefix }}ecommerce-events, operations: [Write]}
  {{- end }}
# reads topics, groups and records
kafdrop:
  - {type: topic, name: "*", operations: [Read, Describe, DescribeConfigs]}
  - {type: group, name: "*", operations: [Read, Describe]}
  - {type: cluster, operations: [Describe]}
{{- end -}}

{{- define "reprise.kafka.users" -}}
users:
  {{- range $component, $acls := include "reprise.kafka.acls" . | fromYaml }}
  - {{ $component }}
  {{- end }}
{{- end -}}
