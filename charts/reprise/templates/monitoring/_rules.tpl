{{/*
Queries of alerts that depend on the values, by the alert's name; empty if there is nothing to watch.
The others are as in files/rules.yaml.
*/}}
{{- define "reprise.rules.queries" -}}
{{- $full := include "reprise.fullname" . -}}
{{- $values := .Values -}}
{{- $strimzi := eq .Values.kafka.mode "strimzi" -}}
{{- $missing := list -}}
{{- range $name := list "predictor" "materializer" -}}
{{- if (index $values $name).enabled }}{{ $missing = append $missing (printf `absent(reprise_build_info{package="reprise-%s"})` $name) }}{{ end -}}
{{- end -}}
{{- $late := dict -}}
{{- range $name := list "trainer" "compaction" "scoring" -}}
{{- $cronJob := printf `{cronjob="%s-%s"}` $full $name -}}
{{- $runs := list (printf "kube_cronjob_status_last_successful_time%s" $cronJob) -}}
{{- /* a nightly run has several results, each of which pushes its own success: only the CronJob has that of all */ -}}
{{- if and $values.monitoring.pushgateway (ne $name "scoring") }}{{ $runs = prepend $runs (printf `reprise_job_last_success_timestamp_seconds{job="reprise-%s"}` $name) }}{{ end -}}
{{- $job := index $values $name -}}
{{- $query := printf "time() - (max by (namespace) (%s) or max by (namespace) (kube_cronjob_created%s)) > 36 * 3600" (join " or " $runs) $cronJob -}}
{{- $_ := set $late $name (ternary $query "" $job.enabled | toJson) -}}
{{- end -}}
{{- $pages := dict "predictor" .Values.predictor "producer" .Values.producer "status" .Values.status "kafdrop" .Values.kafdrop "feast-ui" .Values.feast.ui -}}
{{- $certificates := list -}}
{{- range $name, $page := $pages -}}
{{- if and $page.enabled $page.ingress.enabled $page.ingress.tls.enabled -}}
{{- $certificates = append $certificates ($page.ingress.tls.secretName | default (printf "%s-%s-tls" $full $name)) -}}
{{- end -}}
{{- end -}}
{{- $expiry := list -}}
{{- with $certificates -}}
{{- $series := `certmanager_certificate_expiration_timestamp_seconds{%snamespace="%s",name=~"%s"}` -}}
{{- $names := join "|" . -}}
{{- $both := printf "%s or %s" (printf $series "exported_" $.Release.Namespace $names) (printf $series "" $.Release.Namespace $names) -}}
{{- $expiry = append $expiry (printf "min by (name) (%s) - time() < 14 * 86400" $both) -}}
{{- end -}}
{{- if $strimzi -}}
{{- $series := printf `strimzi_certificate_expiration_timestamp_ms{resource_namespace="%s",cluster="%s"}` .Release.Namespace (include "reprise.kafka.cluster" .) -}}
{{- $expiry = append $expiry (printf "min by (cluster, type) (%s) / 1000 - time() < 14 * 86400" $series) -}}
{{- end -}}
{{- $secrets := list -}}
{{- if and (eq .Values.redis.mode "bundled") (not .Values.redis.existingSecret) }}{{ $secrets = append $secrets "redis" }}{{ end -}}
{{- if $strimzi -}}
{{- range (include "reprise.kafka.users" . | fromYaml).users -}}
{{- if (index $values .).enabled }}{{ $secrets = append $secrets . }}{{ end -}}
{{- end -}}
{{- end -}}
RepriseServiceMissing: {{ join " or " $missing | toJson }}
RepriseTrainerMissed: {{ $late.trainer }}
RepriseCompactionMissed: {{ $late.compaction }}
RepriseScoringMissed: {{ $late.scoring }}
RepriseCertificateExpires: {{ join " or " $expiry | toJson }}
RepriseSecretOld: {{ ternary (printf `time() - max by (namespace, secret) (kube_secret_created{secret=~"%s-(%s)"}) > 180 * 86400` $full (join "|" $secrets)) "" (not (empty $secrets)) | toJson }}
{{- $autoscaler := printf `{horizontalpodautoscaler="%s-predictor"}` $full }}
{{- $claims := list }}
{{- range $name := list "models" "offline" "history" }}
{{- if and (index $values.storage $name).enabled (not (get (index $values.storage $name) "url")) }}{{ $claims = append $claims (include "reprise.storage.claim" (list $ $name)) }}{{ end }}
{{- end }}
{{- if and (eq $values.redis.mode "bundled") $values.redis.persistence.enabled }}{{ $claims = append $claims (printf "data-%s-redis-0" $full) }}{{ end }}
{{- if $strimzi }}{{ $claims = append $claims (printf "data-[0-9]+-%s-.*" (include "reprise.kafka.cluster" .)) }}{{ end }}
{{- $volumes := printf `{persistentvolumeclaim=~"%s"}` (join "|" $claims) }}
RepriseVolumeFull: {{ ternary (printf "kubelet_volume_stats_available_bytes%s / kubelet_volume_stats_capacity_bytes%s < 0.15" $volumes $volumes) "" (not (empty $claims)) | toJson }}
{{- $scaled := printf "%s-materializer" $full }}
{{- $errors := list }}
{{- range $prefix := list "exported_" "" }}{{ $errors = append $errors (printf `increase(keda_scaler_detail_errors_total{%snamespace="%s",scaledObject="%s"}[10m])` $prefix $.Release.Namespace $scaled) }}{{ end }}
{{- $inactive := printf `kube_horizontalpodautoscaler_status_condition{horizontalpodautoscaler="keda-hpa-%s",condition="ScalingActive",status="false"}` $scaled }}
RepriseScalerFails: {{ ternary (printf "sum by (scaledObject) (%s) > 0 or max by (horizontalpodautoscaler) (%s) == 1" (join " or " $errors) $inactive) "" (and $values.materializer.enabled (not (empty (include "reprise.materializer.scaled" .)))) | toJson }}
ReprisePredictorsAtLimit: {{ ternary (printf "kube_horizontalpodautoscaler_status_current_replicas%s >= kube_horizontalpodautoscaler_spec_max_replicas%s" $autoscaler $autoscaler) "" .Values.predictor.autoscaling.enabled | toJson }}
{{- end -}}

{{/* Regular expression of what only rules about parts that are off ask for. */}}
{{- define "reprise.rules.off" -}}
{{- $off := list "^$" -}}
{{- range $name := list "predictor" "producer" "materializer" "archiver" "rollout" "outcomes" "trainer" -}}
{{- if not (index $.Values $name).enabled }}{{ $off = append $off (printf "reprise[-_]%s" $name) }}{{ end -}}
{{- end -}}
{{- if ne .Values.kafka.mode "strimzi" }}{{ $off = append $off "kafka_(server|controller)" }}{{ end -}}
{{- if not .Values.monitoring.pushgateway }}{{ $off = append $off "reprise_(job|outcomes)_" }}{{ end -}}
{{- if not .Values.monitoring.rules.redisMatchers -}}
{{- if or (ne .Values.redis.mode "bundled") (not .Values.redis.exporter.enabled) }}{{ $off = append $off "redis_" }}{{ end -}}
{{- $off = append $off "redis_master_link_up" -}}
{{- end -}}
{{- join "|" $off -}}
{{- end -}}

{{/* A query with label matchers, by which each of its series is one of this release. Takes (list $ query). */}}
{{- define "reprise.rules.select" -}}
{{- $root := index . 0 -}}
{{- $rules := $root.Values.monitoring.rules -}}
{{- $namespace := printf `namespace="%s"` $root.Release.Namespace -}}
{{- $release := printf `app_kubernetes_io_instance="%s"` $root.Release.Name -}}
{{- $own := printf "%s,%s" $namespace $release -}}
{{- $query := regexReplaceAll `\b((?:reprise|redis|kube|kubelet|kafka)[_:][a-z0-9_:]+)` (index . 1) "${1}{}" | replace "{}{" "{" -}}
{{- /* the first that fits: it replaces the opening brace, which the others look for */ -}}
{{- range list
    (list `reprise_(?:job|outcomes)_[a-z0-9_]+` ($rules.pushedMatchers | default $own))
    (list `reprise:feature_psi:[a-z0-9_]+` $release)
    (list `reprise[_:][a-z0-9_:]+` $own)
    (list `redis_[a-z0-9_]+` ($rules.redisMatchers | default $own))
    (list `kafka_[a-z0-9_]+` (printf `%s,strimzi_io_cluster="%s"` $namespace (include "reprise.kafka.cluster" $root)))
    (list `kube(?:let)?_[a-z0-9_]+` $namespace) -}}
{{- $query = regexReplaceAll (printf `\b(%s)\{` (index . 0)) $query (printf "${1}§%s," (index . 1)) -}}
{{- end -}}
{{- $query | replace "§," "§" | replace ",}" "}" | replace "§}" "" | replace "§" "{" -}}
{{- end -}}
