{{- define "reprise.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of a component's objects. Takes (list $ "predictor"), as do all helpers below for a component. */}}
{{- define "reprise.name" -}}
{{- printf "%s-%s" (include "reprise.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{- define "reprise.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of pods. None may depend on a version: an upgrade would restart pods whose image is the same. */}}
{{- define "reprise.podLabels" -}}
{{ include "reprise.selector" . }}
app.kubernetes.io/part-of: reprise
{{- end -}}

{{/* Labels of objects; those of the values override all but the selector's. Takes (list $ "predictor"), and labels if there are more. */}}
{{- define "reprise.labels" -}}
{{- $root := index . 0 -}}
{{- $chart := dict "app.kubernetes.io/managed-by" $root.Release.Service "app.kubernetes.io/version" $root.Chart.AppVersion "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- $more := index (append . dict) 2 | default dict -}}
{{- merge (include "reprise.selector" . | fromYaml) $more ($root.Values.commonLabels | default dict) $chart (include "reprise.podLabels" . | fromYaml) | toYaml -}}
{{- end -}}

{{- define "reprise.metadata" -}}
name: {{ include "reprise.name" . }}
namespace: {{ (index . 0).Release.Namespace | quote }}
labels:
  {{- include "reprise.labels" . | nindent 2 }}
{{- end -}}

{{/* Reference of an image. Takes (list $ image "predictor"); a digest overrides a tag. */}}
{{- define "reprise.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := $root.Values.global.image.registry | trimSuffix "/" -}}
{{- $repository := $image.repository | default (printf "reprise-%s" (index . 2)) -}}
{{- $tag := $image.tag | default $root.Values.global.image.tag | default $root.Chart.AppVersion -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ $repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{/* The same for a third-party image, to which global.image.registry and global.image.tag do not apply. */}}
{{- define "reprise.foreignImage" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}

{{/* A setting as the text of an environment variable: whole numbers without an exponent, lists with commas. */}}
{{- define "reprise.text" -}}
{{- if kindIs "slice" . -}}{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}
{{- else -}}{{ . }}
{{- end -}}
{{- end -}}

{{/* The settings of a component, as the data of a ConfigMap. */}}
{{- define "reprise.settings" -}}
{{- range $name, $value := mergeOverwrite (dict) (index . 0).Values.global.settings (index (index . 0).Values (index . 1)).settings }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ include "reprise.text" $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether the component's objects are there. */}}
{{- define "reprise.enabled" -}}
{{- $values := (index . 0).Values -}}
{{- if eq (index . 1) "redis" -}}
{{- if eq $values.redis.mode "bundled" }}true{{ end -}}
{{- else if (index $values (index . 1)).enabled -}}
{{- if or (ne (index . 1) "topics") (eq $values.kafka.mode "external") }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- define "reprise.serviceAccount" -}}
{{- (index (index . 0).Values (index . 1)).serviceAccount.name | default (include "reprise.name" .) -}}
{{- end -}}

{{/*
What the values add to a component's pods: extraEnv, extraVolumes, extraVolumeMounts, extraContainers; and the CA and
key of the object store where it is used. Takes (list $ "predictor" "extraEnv").
*/}}
{{- define "reprise.extra" -}}
{{- with index (index . 0).Values (index . 1) (index . 2) }}{{ toYaml . }}
{{ end -}}
{{- if and (has (index . 2) (list "extraVolumes" "extraVolumeMounts")) (include "reprise.objects.reads" .) }}{{ include (printf "reprise.objects.%s" (index . 2)) . }}{{ end -}}
{{- end -}}

{{/*
Replicas of a Deployment that an autoscaler scales: those that it has. Helm resets a field that the last release had and
this one lacks to its default, one pod; so once in a release, the field stays in all later ones. Takes (list $ "predictor").
*/}}
{{- define "reprise.scaledReplicas" -}}
{{- with lookup "apps/v1" "Deployment" (index . 0).Release.Namespace (include "reprise.name" .) }}
replicas: {{ int .spec.replicas }}
{{- end }}
{{- end -}}

{{- define "reprise.listen" -}}
{{- with .Values.network.listen }}API_HOST: {{ . | quote }}{{ end -}}
{{- end -}}

{{- define "reprise.ipFamilies" -}}
{{- with .Values.network }}
{{- with .ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .ipFamilies }}
ipFamilies: {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.podMetadata" -}}
{{- $component := index (index . 0).Values (index . 1) -}}
{{- with merge (dict) $component.podAnnotations (include "reprise.checksum" . | fromYaml) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $labels := include "reprise.podLabels" . | fromYaml }}
{{- if and (index . 0).Values.storage.azure.workloadIdentity (include "reprise.objects.reads" .) }}
{{- $_ := set $labels "azure.workload.identity/use" "true" }}
{{- end }}
labels:
  {{- merge (include "reprise.selector" . | fromYaml) ($component.podLabels | default dict) $labels | toYaml | nindent 2 }}
{{- end -}}

{{/* Common to every pod: a ServiceAccount without a token, the restricted security standard, scheduling. */}}
{{- define "reprise.pod" -}}
{{- $root := index . 0 -}}
{{- $component := index $root.Values (index . 1) -}}
serviceAccountName: {{ include "reprise.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $root.Values.global.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $component.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Volume for temporary files, up to the pod's limit of ephemeral storage. Takes (list $ "trainer" "tmp"). */}}
{{- define "reprise.scratch" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
- name: {{ index . 2 }}
  emptyDir:
    sizeLimit: {{ index $values.resources.limits "ephemeral-storage" }}
{{- end -}}

{{/* Spreads the replicas of a component over zones and nodes. */}}
{{- define "reprise.spread" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "reprise.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{- define "reprise.containerSecurity" -}}
securityContext:
  {{- toYaml .Values.containerSecurityContext | nindent 2 }}
{{- end -}}

{{/* Takes the name of the container's port. Liveness checks only the process: an unavailable Redis or Kafka is no reason to restart. */}}
{{- define "reprise.probes" -}}
startupProbe:
  httpGet: {path: /health, port: {{ . }}}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /health, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /ready, port: {{ . }}}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{- define "reprise.envFrom" -}}
envFrom:
  - configMapRef:
      name: {{ include "reprise.name" . }}
{{- end -}}

{{/* Checksum of the component's configuration, by which a change of it restarts its pods. */}}
{{- define "reprise.checksum" -}}
{{- $root := index . 0 -}}
{{- $sources := dict "feast" (list "feast/configmap" "feast/configmap-repository") "seed" (list "trainer/configmap" "backfill/configmap") -}}
{{- if not (has (index . 1) (list "datagen" "kafdrop")) -}}
{{- $data := list -}}
{{- range get $sources (index . 1) | default (list (printf "%s/configmap" (index . 1))) -}}
{{- $data = append $data (include (printf "%s/%s.yaml" $root.Template.BasePath .) $root | fromYaml).data -}}
{{- end -}}
checksum/config: {{ $data | toJson | sha256sum }}
{{- end }}
{{- $secrets := list -}}
{{- range include "reprise.secrets" . | splitList " " | compact | uniq -}}
{{- $secrets = append $secrets (lookup "v1" "Secret" $root.Release.Namespace .).data -}}
{{- end }}
{{- with $secrets }}
checksum/secret: {{ . | toJson | sha256sum }}
{{- end }}
{{- end -}}

{{/*
Names of the Secrets from elsewhere that the component reads, separated by spaces; an upgrade after one has changed restarts
the pods. Those that the chart or Strimzi creates appear later than the first pods.
*/}}
{{- define "reprise.secrets" -}}
{{- $values := (index . 0).Values -}}
{{- if has (index . 1) (list "predictor" "producer" "materializer" "archiver" "backfill" "forget" "doctor" "topics" "seed" "kafdrop") -}}
{{- if eq $values.kafka.mode "external" }}{{ with $values.kafka.external }} {{ .auth.existingSecret }} {{ .caSecret.name }} {{ end }}{{ end -}}
{{- end -}}
{{- if has (index . 1) (list "predictor" "materializer" "backfill" "forget" "rollout" "outcomes" "doctor" "feast" "seed" "redis") -}}
{{- if eq $values.redis.mode "bundled" }} {{ $values.redis.existingSecret }} {{ else }}{{ with $values.redis.external }} {{ .auth.existingSecret }} {{ .tls.caSecret.name }} {{ end }}{{ end -}}
{{- end -}}
{{- if include "reprise.objects.reads" . }} {{ include "reprise.objects.secret" . }} {{ if eq (index . 1) "feast" }}{{ include "reprise.objects.secret" (list (index . 0) "feast-ui") }}{{ end }} {{ $values.storage.s3.caSecret.name }} {{ end -}}
{{- end -}}

{{/* Name of a component's Job. A Job is immutable, so another spec needs another name. */}}
{{- define "reprise.jobName" -}}
{{ include "reprise.name" . }}-{{ include (printf "reprise.%s.job" (index . 1)) (index . 0) | fromYaml | toJson | sha256sum | trunc 8 }}
{{- end -}}

{{/* Job of a component, whose spec is the template reprise.<component>.job. */}}
{{- define "reprise.job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "reprise.jobName" . }}
  namespace: {{ (index . 0).Release.Namespace | quote }}
  labels:
    {{- include "reprise.labels" . | nindent 4 }}
spec:
  {{- include (printf "reprise.%s.job" (index . 1)) (index . 0) | nindent 2 }}
{{- end -}}

{{/*
CronJob of a component, whose Job's spec is the template reprise.<component>.job. Without a schedule in its values it is
suspended for good: kubectl create job --from=cronjob/… starts it.
*/}}
{{- define "reprise.cronJob" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  {{- include "reprise.metadata" . | nindent 2 }}
spec:
  schedule: {{ $values.schedule | default "0 0 1 1 *" | quote }}
  suspend: {{ not $values.schedule | or $values.suspend }}
  {{- with $values.timeZone }}
  timeZone: {{ . | quote }}
  {{- end }}
  {{- if $values.schedule }}
  startingDeadlineSeconds: 600
  {{- end }}
  concurrencyPolicy: Forbid
  successfulJobsHistoryLimit: {{ $values.successfulJobsHistoryLimit }}
  failedJobsHistoryLimit: {{ $values.failedJobsHistoryLimit }}
  jobTemplate:
    metadata:
      labels:
        {{- include "reprise.labels" . | nindent 8 }}
    spec:
      activeDeadlineSeconds: {{ int $values.activeDeadlineSeconds }}
      backoffLimit: {{ $values.backoffLimit | default 0 }}
      {{- include (printf "reprise.%s.job" (index . 1)) (index . 0) | nindent 6 }}
{{- end -}}

{{/* Generates a history that ends yesterday, in the history folder, unless there is one. */}}
{{- define "reprise.datagen.script" -}}
- |
  if [ -e /var/lib/reprise/history/history.parquet ]; then
    echo "history.parquet is there already"
    exit 0
  fi
  exec reprise-datagen /var/lib/reprise/history/history.parquet \
    --start "$(date -u -d '{{ int .Values.datagen.days }} days ago' +%Y-%m-%d)" --days {{ int .Values.datagen.days }} \
    --users {{ int .Values.datagen.users }} --products {{ int .Values.datagen.products }} --seed {{ int .Values.datagen.seed }}
{{- end -}}

{{/* Environment variables from Secrets. Takes (list $this (list "kafka" "redis")). */}}
{{- define "reprise.env" -}}
{{- $this := index . 0 -}}
{{- $root := index $this 0 -}}
{{- $variables := "" -}}
{{- range index . 1 -}}
{{- $variables = printf "%s%s" $variables (include (printf "reprise.%s.env" .) $this) -}}
{{- end -}}
{{- with trim (printf "%s\n%s" $variables (include "reprise.extra" (append $this "extraEnv"))) }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Arguments of a job that reads events: the history, the archive, or both in this order. Takes (list $ "backfill"). */}}
{{- define "reprise.events.args" -}}
{{- $job := index (index . 0).Values (index . 1) -}}
{{- if $job.events.history }}
- --events=/var/lib/reprise/history
{{- end }}
{{- if $job.events.archive }}
- --offline={{ include "reprise.storage.url" (list (index . 0) "offline") }}
{{- end }}
{{- with $job.args }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Command of a container; in development, a reloader that runs a writable copy of its code. Takes (list $ "reprise-predictor").
The copy is on a volume, so it survives a restart of the container.
*/}}
{{- define "reprise.command" -}}
{{- if (index . 0).Values.dev.reload -}}
command: [python, -c, {{ (index . 0).Files.Get "files/reload.py" | quote }}, {{ index . 1 }}]
{{- else -}}
command: [{{ index . 1 }}]
{{- end -}}
{{- end -}}

{{/* Init container that copies the code. Takes (list $ "predictor"). */}}
{{- define "reprise.dev.copy" -}}
{{- $root := index . 0 -}}
- name: copy-code
  image: {{ include "reprise.image" (list $root (index $root.Values (index . 1)).image (index . 1)) }}
  imagePullPolicy: {{ $root.Values.global.image.pullPolicy }}
  command: [cp, -rT, /opt/reprise, /code]
  {{- include "reprise.containerSecurity" $root | nindent 2 }}
  resources:
    {{- toYaml (index $root.Values (index . 1)).resources | nindent 4 }}
  volumeMounts:
    - name: code
      mountPath: /code
{{- end -}}

{{- define "reprise.dev.mount" -}}
{{- if .Values.dev.reload }}
- name: code
  mountPath: /opt/reprise
{{- end }}
{{- end -}}

{{- define "reprise.dev.volume" -}}
{{- if .Values.dev.reload }}
- name: code
  emptyDir: {}
{{- end }}
{{- end -}}
