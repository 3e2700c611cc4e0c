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

THIRD_PARTY = {
    "up": "Prometheus itself",
    "scrape_samples_scraped": "Prometheus itself",
    "redis_up": "redis_exporter",
    "redis_memory_used_bytes": "redis_exporter",
    "redis_memory_max_bytes": "redis_exporter",
    "redis_master_link_up": "redis_exporter",
    "redis_commands_processed_total": "redis_exporter",
    "redis_connected_clients": "redis_exporter",
    "redis_connected_slaves": "redis_exporter",
    "redis_db_keys": "redis_exporter",
    "redis_evicted_keys_total": "redis_exporter",
    "kafka_server_brokertopicmetrics_bytesinpersec_total": "Strimzi's metrics reporter",
    "kafka_server_brokertopicmetrics_messagesinpersec_total": "Strimzi's metrics reporter",
    "kafka_server_replicamanager_underreplicatedpartitions": "Kafka's JMX exporter (Strimzi)",
    "kafka_server_brokertopicmetrics_bytesin_total": "Kafka's JMX exporter (Strimzi)",
    "kafka_server_brokertopicmetrics_messagesin_total": "Kafka's JMX exporter (Strimzi)",
    "kafka_controller_kafkacontroller_offlinepartitionscount": "Strimzi's metrics reporter",
    "kafka_consumergroup_lag": "kafka_exporter (Strimzi)",
    "kube_cronjob_created": "kube-state-metrics",
    "kube_cronjob_status_last_successful_time": "kube-state-metrics",
    "kube_horizontalpodautoscaler_spec_max_replicas": "kube-state-metrics",
    "kube_horizontalpodautoscaler_status_current_replicas": "kube-state-metrics",
    "kube_horizontalpodautoscaler_status_condition": "kube-state-metrics",
    "keda_scaler_detail_errors_total": "KEDA's operator",
    "kubelet_volume_stats_available_bytes": "kubelet",
    "kubelet_volume_stats_capacity_bytes": "kubelet",
    "kube_job_status_failed": "kube-state-metrics",
    "kube_pod_container_status_restarts_total": "kube-state-metrics",
    "kube_pod_status_ready": "kube-state-metrics",
    "kube_secret_created": "kube-state-metrics",
    "container_cpu_usage_seconds_total": "cAdvisor (kubelet)",
    "container_memory_working_set_bytes": "cAdvisor (kubelet)",
    "certmanager_certificate_expiration_timestamp_seconds": "cert-manager",
    "strimzi_certificate_expiration_timestamp_ms": "Strimzi's operator",
}
"""The metrics of others that rules and panels may ask for, and who exposes them."""


def metrics_of(query: str) -> set[str]:
    """Return the names of the series in a PromQL query."""
    text = _STRING.sub('""', query)
    for pattern in _NOT_METRICS:
        text = pattern.sub(" ", text)
    return {name for name in _NAME.findall(text) if name.lower() not in _WORDS}
