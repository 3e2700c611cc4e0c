"""Which metrics a query asks for."""

import re

_STRING = re.compile(r'"(?:\\.|[^"\\])*"|' + r"'(?:\\.|[^'\\])*'")
_NOT_METRICS = (
    re.compile(r"\{[^}]*\}"),
    re.compile(r"\[[^\]]*\]"),
    re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"),
)
_NAME = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\b(?!\s*\()")
_WORDS = frozenset(("and", "or", "unless", "offset", "bool", "by", "without", "on", "ignoring", "inf", "nan"))

_BY_EXPORTER = {
    "Prometheus itself": ("up", "scrape_samples_scraped"),
    "redis_exporter": (
        "redis_up", "redis_memory_used_bytes", "redis_memory_max_bytes", "redis_master_link_up",
        "redis_commands_processed_total", "redis_connected_clients", "redis_connected_slaves", "redis_db_keys",
        "redis_evicted_keys_total",
    ),
    "Strimzi's metrics reporter": (
        "kafka_server_brokertopicmetrics_bytesinpersec_total",
        "kafka_server_brokertopicmetrics_messagesinpersec_total",
        "kafka_controller_kafkacontroller_offlinepartitionscount",
    ),
    "Kafka's JMX exporter (Strimzi)": (
        "kafka_server_replicamanager_underreplicatedpartitions", "kafka_server_brokertopicmetrics_bytesin_total",
        "kafka_server_brokertopicmetrics_messagesin_total",
    ),
    "kafka_exporter (Strimzi)": ("kafka_consumergroup_lag",),
    "kube-state-metrics": (
        "kube_cronjob_created", "kube_cronjob_status_last_successful_time",
        "kube_horizontalpodautoscaler_spec_max_replicas", "kube_horizontalpodautoscaler_status_current_replicas",
        "kube_horizontalpodautoscaler_status_condition", "kube_job_status_failed",
        "kube_pod_container_status_restarts_total", "kube_pod_status_ready", "kube_secret_created",
    ),
    "KEDA's operator": ("keda_scaler_detail_errors_total",),
    "kubelet": ("kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"),
    "cAdvisor (kubelet)": ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes"),
    "cert-manager": ("certmanager_certificate_expiration_timestamp_seconds",),
    "Strimzi's operator": ("strimzi_certificate_expiration_timestamp_ms",),
}  # fmt: skip
THIRD_PARTY = {name: exporter for exporter, names in _BY_EXPORTER.items() for name in names}
"""The metrics of others that rules and panels may ask for, and who exposes them."""


def metrics_of(query: str) -> set[str]:
    """Return the names of the series in a PromQL query."""
    text = _STRING.sub('""', query)
    for pattern in _NOT_METRICS:
        text = pattern.sub(" ", text)
    return {name for name in _NAME.findall(text) if name.lower() not in _WORDS}
