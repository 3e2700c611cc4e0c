"""What the services run on: processes, Redis, Kafka, pods."""

from dashboards.panels import Dashboard, Panel, Query, Row

INFRASTRUCTURE = Dashboard(
    "infrastructure",
    "Infrastructure",
    "Processes, Redis, Kafka, pods and their autoscaler.",
    (
        Row(
            "Processes",
            (
                Panel(
                    "Processor",
                    "Cores used by each of our processes.",
                    "short",
                    (
                        Query(
                            'sum by (job) (rate(process_cpu_seconds_total{NS, job=~".*reprise.*"}[RATE]))',
                            "{{job}}",
                        ),
                    ),
                ),
                Panel(
                    "Memory",
                    "Resident memory of each of our processes.",
                    "bytes",
                    (
                        Query(
                            'sum by (job) (process_resident_memory_bytes{NS, job=~".*reprise.*"})', "{{job}}"
                        ),
                    ),
                ),
                Panel(
                    "Versions",
                    "Processes by package and version; two versions for long: an upgrade that is stuck.",
                    "short",
                    (
                        Query(
                            "count by (package, version) (reprise_build_info{NS})", "{{package}} {{version}}"
                        ),
                    ),
                    "bars",
                ),
                Panel(
                    "Errors of dependencies",
                    "Calls to the store, the log and the archive that failed, by kind; 0 where there were none.",
                    "cps",
                    (
                        Query(
                            "sum by (dependency, kind) (rate(reprise_dependency_errors_total{NS}[RATE])) or vector(0)",
                            "{{dependency}} {{kind}}",
                        ),
                    ),
                    width=24,
                ),
            ),
        ),
        Row(
            "Redis",
            (
                Panel(
                    "Memory",
                    "Used, and the most that is allowed (0: as much as there is). When it is full, writes are refused.",
                    "bytes",
                    (
                        Query("max by (instance) (redis_memory_used_bytes{NS})", "{{instance}} used"),
                        Query("max by (instance) (redis_memory_max_bytes{NS})", "{{instance}} allowed"),
                    ),
                ),
                Panel(
                    "Commands",
                    "Commands a second.",
                    "ops",
                    (
                        Query(
                            "sum by (instance) (rate(redis_commands_processed_total{NS}[RATE]))",
                            "{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Keys and clients",
                    "Rows of the online store, and connections.",
                    "short",
                    (
                        Query("sum by (instance) (redis_db_keys{NS})", "{{instance}} keys"),
                        Query("sum by (instance) (redis_connected_clients{NS})", "{{instance}} clients"),
                    ),
                ),
            ),
        ),
        Row(
            "Kafka",
            (
                Panel(
                    "Partitions short of replicas",
                    "Anything but 0 for long: a broker is away.",
                    "short",
                    (Query("sum(kafka_server_replicamanager_underreplicatedpartitions{NS})"),),
                    "number",
                    bad_above=1,
                    needs="kafka",
                ),
                Panel(
                    "Messages",
                    "Records a second by topic; Strimzi's metrics reporter and its JMX exporter name them differently.",
                    "cps",
                    (
                        Query(
                            'sum by (topic) (rate(kafka_server_brokertopicmetrics_messagesinpersec_total{NS, topic=~"ecommerce-.*"}[RATE])) or sum by (topic) (rate(kafka_server_brokertopicmetrics_messagesin_total{NS, topic=~"ecommerce-.*"}[RATE]))',
                            "{{topic}}",
                        ),
                    ),
                    needs="kafka",
                ),
                Panel(
                    "Bytes",
                    "Bytes a second by topic.",
                    "Bps",
                    (
                        Query(
                            'sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesinpersec_total{NS, topic=~"ecommerce-.*"}[RATE])) or sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesin_total{NS, topic=~"ecommerce-.*"}[RATE]))',
                            "{{topic}}",
                        ),
                    ),
                    needs="kafka",
                ),
            ),
        ),
        Row(
            "Pods",
            (
                Panel(
                    "Restarts, last hour",
                    "Containers that ended and were started again.",
                    "short",
                    (
                        Query(
                            'sum by (pod) (increase(kube_pod_container_status_restarts_total{NS, pod=~".*reprise.*"}[1h]))',
                            "{{pod}}",
                        ),
                    ),
                    needs="kubernetes",
                ),
                Panel(
                    "Autoscaler",
                    "Predictors there are, and the most there may be.",
                    "short",
                    (
                        Query(
                            "kube_horizontalpodautoscaler_status_current_replicas"
                            '{NS, horizontalpodautoscaler=~".*reprise.*"}',
                            "{{horizontalpodautoscaler}}",
                        ),
                        Query(
                            'kube_horizontalpodautoscaler_spec_max_replicas{NS, horizontalpodautoscaler=~".*reprise.*"}',
                            "{{horizontalpodautoscaler}} at most",
                        ),
                    ),
                    needs="kubernetes",
                ),
                Panel(
                    "Memory of pods",
                    "What the kubelet counts against the limit: of the containers, or of the pod where it knows no containers.",
                    "bytes",
                    (
                        Query(
                            'sum by (pod) (container_memory_working_set_bytes{NS, pod=~".*reprise.*", container!=""})'
                            ' or sum by (pod) (container_memory_working_set_bytes{NS, pod=~".*reprise.*", container=""})',
                            "{{pod}}",
                        ),
                    ),
                    needs="kubernetes",
                ),
            ),
        ),
    ),
)
