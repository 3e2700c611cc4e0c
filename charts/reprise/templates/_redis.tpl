{{/* Redis connection of a component. Helpers for a component take (list $ "predictor"). */}}

{{- define "reprise.redis.secret" -}}
{{- if .Values.redis.existingSecret -}}
{{ .Values.redis.existingSecret }}
{{- else -}}
{{ include "reprise.fullname" . }}-redis
{{- end -}}
{{- end -}}

{{- define "reprise.redis.config" -}}
{{- $external := .Values.redis.external -}}
FEAST_PROJECT: {{ .Values.feast.project | quote }}
{{- if eq .Values.redis.mode "bundled" }}
REDIS_HOST: {{ include "reprise.fullname" . }}-redis
REDIS_PORT: "6379"
{{- else }}
REDIS_HOST: {{ $external.host | quote }}
REDIS_PORT: {{ $external.port | quote }}
{{- if $external.cluster }}
REDIS_TYPE: redis_cluster
{{- with $external.nodes }}
REDIS_NODES: {{ . | quote }}
{{- end }}
{{- else if $external.db }}
REDIS_DB: {{ $external.db | quote }}
{{- end }}
{{- if $external.tls.enabled }}
REDIS_TLS: "true"
{{- if $external.tls.caSecret.name }}
REDIS_CA_FILE: /etc/reprise/redis/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "reprise.redis.env" -}}
{{- $root := index . 0 -}}
{{- $user := ternary "backfill" (index . 1) (eq (index . 1) "forget") -}}
{{- $auth := $root.Values.redis.external.auth -}}
{{- if eq $root.Values.redis.mode "bundled" }}
- name: REDIS_USERNAME
  value: {{ $user }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "reprise.redis.secret" $root }}
      key: {{ $user }}-password
{{- else if $auth.existingSecret }}
{{- $prefix := ternary (printf "%s-" $user) "" $auth.perComponent }}
- name: REDIS_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ $auth.existingSecret }}
      key: {{ $prefix }}username
      optional: {{ not $auth.perComponent }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $auth.existingSecret }}
      key: {{ $prefix }}password
{{- end }}
{{- end -}}

{{- define "reprise.redis.mounts" -}}
{{- if and (eq .Values.redis.mode "external") .Values.redis.external.tls.enabled .Values.redis.external.tls.caSecret.name }}
- name: redis-ca
  mountPath: /etc/reprise/redis
  readOnly: true
{{- end }}
{{- end -}}

{{- define "reprise.redis.volumes" -}}
{{- $tls := .Values.redis.external.tls -}}
{{- if and (eq .Values.redis.mode "external") $tls.enabled $tls.caSecret.name }}
- name: redis-ca
  secret:
    secretName: {{ $tls.caSecret.name }}
    items: [{key: {{ $tls.caSecret.key }}, path: ca.crt}]
{{- end }}
{{- end -}}

{{/* ACL rules of each component in the bundled Redis: the commands that it sends, on its own keys. */}}
{{- define "reprise.redis.users" -}}
{{- $rows := printf "~*%s" .Values.feast.project -}}
{{- $routing := printf "routing:%s" .Values.feast.project -}}
{{- $seen := printf "~seen:%s:* ~settled:%s:*" .Values.feast.project .Values.feast.project -}}
# HMGET for the rows of a prediction, GET for the routing document and its signature, PING for readiness
predictor: "%R{{ $rows }} %R~{{ $routing }}:document* -@all +ping +hmget +get"
# GET and SET for the routing document, GET for the evidence
rollout: "~{{ $routing }}:document* %R~{{ $routing }}:evidence* -@all +ping +get +set"
# GET for the routing document, SET for the evidence
outcomes: "%R~{{ $routing }}:document* %W~{{ $routing }}:evidence* -@all +ping +get +set"
# reads rows, writes them with a compare-and-set script, stores event ids, lists and removes the rows of erased users
materializer: "{{ $rows }} {{ $seen }} -@all +ping +hmget +hget +hset +eval +evalsha +get +set +scan +unlink"
# reads and writes the same; for --replace it also lists rows and removes their fields; GET and HGETALL are reprise forget's
backfill: "{{ $rows }} {{ $seen }} -@all +ping +hmget +hget +hset +eval +evalsha +get +set +scan +hdel +hgetall"
# writes and removes its own keys, removes the rows of canaries, checks ACLs with ACL DRYRUN
doctor: "~reprise-doctor:{{ .Values.feast.project }}:* %W~*reprise-doctor-*{{ .Values.feast.project }} %R~{{ $routing }}:document* -@all +ping +set +get +del +acl|dryrun"
# feast apply writes the registry alone; HMGET for reading features
feast: "%R{{ $rows }} -@all +ping +hmget"
# INFO and similar commands, no keys
exporter: "resetkeys -@all +ping +info +client|setname +config|get +latency|latest +latency|histogram +slowlog|get +slowlog|len +dbsize +select"
# the probes of the container
probe: "resetkeys -@all +ping +info"
{{- end -}}
