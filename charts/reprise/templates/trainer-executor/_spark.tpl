{{/* Whether the trainer's rows may be computed on Spark, by executors in pods of their own; the trainer is the driver. */}}
{{- define "reprise.spark" -}}
{{- if and .Values.trainer.enabled (ne .Values.trainer.executor "duckdb") }}true{{ end -}}
{{- end -}}

{{/* Spark's settings. Those of the values override. */}}
{{- define "reprise.spark.conf" -}}
{{- $spark := .Values.trainer.spark -}}
spark.executor.instances: {{ $spark.executors }}
spark.executor.cores: {{ $spark.cores }}
spark.executor.memory: {{ $spark.memory }}
spark.authenticate: true
spark.driver.host: ${env:POD_IP}
spark.driver.port: 7078
spark.driver.blockManager.port: 7079
spark.blockManager.port: 7079
spark.kubernetes.namespace: {{ .Release.Namespace | quote }}
spark.kubernetes.container.image: {{ include "reprise.image" (list . .Values.trainer.image "trainer") }}
spark.kubernetes.container.image.pullPolicy: {{ .Values.global.image.pullPolicy }}
spark.kubernetes.executor.podTemplateFile: /etc/reprise/spark/executor.yaml
# executors end with the driver
spark.kubernetes.driver.pod.name: ${env:POD_NAME}
# what would need more rights than on pods
spark.kubernetes.executor.disableConfigMap: true
spark.kubernetes.driver.service.deleteOnTermination: false
spark.kubernetes.driver.ownPersistentVolumeClaim: false
spark.kubernetes.driver.reusePersistentVolumeClaim: false
{{- with $spark.eventLogs }}
spark.eventLog.enabled: true
spark.eventLog.dir: {{ regexReplaceAll "^s3:" . "s3a:" }}
{{- end }}
spark.hadoop.fs.s3a.aws.credentials.provider: software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider
{{- with .Values.storage.s3.endpointUrl }}
spark.hadoop.fs.s3a.endpoint: {{ . }}
spark.hadoop.fs.s3a.path.style.access: true
{{- end }}
{{- with .Values.storage.s3.region }}
spark.hadoop.fs.s3a.endpoint.region: {{ . }}
{{- end }}
{{- end -}}

{{/* Variables of the driver. */}}
{{- define "reprise.spark.env" -}}
{{- $root := index . 0 -}}
{{- if include "reprise.spark" $root }}
- name: TRAINER_EXECUTOR
  value: {{ $root.Values.trainer.executor }}
- name: TRAINER_SPARK_MASTER
  value: k8s://https://kubernetes.default.svc
- name: TRAINER_SPARK_FILES
  value: {{ $root.Values.trainer.spark.files | quote }}
- name: SPARK_CONF_DIR
  value: /etc/reprise/spark
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- end }}
{{- end -}}

{{/* Ingress or egress rule: the ports of driver or executors. Takes (list $ "from" "trainer" (list 7078 7079)). */}}
{{- define "reprise.spark.peer" -}}
- {{ index . 1 }}:
    - podSelector:
        matchLabels:
          {{- include "reprise.selector" (list (index . 0) (index . 2)) | nindent 10 }}
  ports:
    {{- range index . 3 }}
    - port: {{ . }}
    {{- end }}
{{- end -}}
