"""What Prometheus' operator makes of PodMonitors, for clusters where the operator itself cannot be had.

The labels are those of its own generator (prometheus-operator, pkg/prometheus/promcfg.go): ``namespace``, ``pod``,
``container``, ``endpoint``, and a ``job`` that is the namespace and the name of the monitor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def scrape_configs(monitors: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return Prometheus' ``scrape_configs`` for PodMonitors as the API server gives them."""
    return [
        _scrape_config(monitor, endpoint, number)
        for monitor in monitors
        for number, endpoint in enumerate(monitor["spec"]["podMetricsEndpoints"])
    ]


def watching_configs(namespace: str) -> list[dict[str, Any]]:
    """Return how what is beside the platform is scraped: kubelets, kube-state-metrics, Pushgateway, a shop's Redis."""
    return [
        {
            "job_name": "kubelet",
            "scheme": "https",
            "metrics_path": "/metrics/cadvisor",
            "authorization": {"credentials_file": "/var/run/secrets/kubernetes.io/serviceaccount/token"},
            # kubelets sign their own certificates on most clusters
            "tls_config": {"insecure_skip_verify": True},
            "honor_labels": True,
            # cAdvisor looks at containers each ten seconds or so, and says when
            "honor_timestamps": False,
            "scrape_interval": "5s",
            "scrape_timeout": "5s",
            "kubernetes_sd_configs": [{"role": "node"}],
            "relabel_configs": [_replace("__meta_kubernetes_node_name", "node")],
        },
        *(
            {
                "job_name": job,
                "honor_labels": True,
                "kubernetes_sd_configs": [_pods_of(namespace)],
                "relabel_configs": [_keep(_PORT, port), *_PLACE],
            }
            for job, port in _BESIDE.items()
        ),
    ]


def over_http(config: dict[str, Any], url: str) -> dict[str, Any]:
    """Return a scrape configuration that finds its targets through ``k8s/e2e/prometheus/kubernetes-targets``.

    Debian's Prometheus is built without ``kubernetes_sd``; the targets and their labels are the same.
    """
    [found] = config["kubernetes_sd_configs"]
    namespaces = found.get("namespaces", {}).get("names", [])
    path = f"/pods?namespace={namespaces[0]}" if found["role"] == "pod" else "/nodes"
    others = {name: value for name, value in config.items() if name != "kubernetes_sd_configs"}
    return others | {"http_sd_configs": [{"url": url + path, "refresh_interval": "1s"}]}


def _scrape_config(monitor: dict[str, Any], endpoint: dict[str, Any], number: int) -> dict[str, Any]:
    spec, metadata = monitor["spec"], monitor["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    unknown = endpoint.keys() - {"port", "path", "interval", "honorLabels"}
    unknown |= spec.keys() - {"selector", "podTargetLabels", "podMetricsEndpoints"}
    if unknown or spec["selector"].keys() != {"matchLabels"}:
        untranslated = sorted(unknown) or spec["selector"]
        raise ValueError(f"the PodMonitor {name} has what is not translated: {untranslated}")
    pod = "__meta_kubernetes_pod"
    chosen = [
        _keep([f"{pod}_label_{_safe(key)}", f"{pod}_labelpresent_{_safe(key)}"], f"({re.escape(value)});true")
        for key, value in sorted(spec["selector"]["matchLabels"].items())
    ]
    copied = [
        _replace(f"__meta_kubernetes_pod_label_{_safe(label)}", _safe(label)) | {"regex": "(.+)"}
        for label in spec.get("podTargetLabels", [])
    ]
    return {
        "job_name": f"podMonitor/{namespace}/{name}/{number}",
        "metrics_path": endpoint.get("path", "/metrics"),
        "honor_labels": endpoint.get("honorLabels", False),
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["interval"],
        "kubernetes_sd_configs": [_pods_of(namespace)],
        "relabel_configs": [
            _keep("__meta_kubernetes_pod_phase", "(Failed|Succeeded)") | {"action": "drop"},
            *chosen,
            _keep(_PORT, endpoint["port"]),
            *_PLACE,
            *copied,
            {"target_label": "job", "replacement": f"{namespace}/{name}"},
            {"target_label": "endpoint", "replacement": endpoint["port"]},
        ],
    }


def _pods_of(namespace: str) -> dict[str, Any]:
    return {"role": "pod", "namespaces": {"names": [namespace]}}


def _keep(source: str | list[str], regex: str) -> dict[str, Any]:
    sources = [source] if isinstance(source, str) else source
    return {"action": "keep", "source_labels": sources, "regex": regex}


def _replace(source: str, target: str) -> dict[str, Any]:
    return {"source_labels": [source], "target_label": target}


def _safe(label: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)


_PORT = "__meta_kubernetes_pod_container_port_name"
_PLACE = [
    _replace("__meta_kubernetes_namespace", "namespace"),
    _replace("__meta_kubernetes_pod_container_name", "container"),
    _replace("__meta_kubernetes_pod_name", "pod"),
]
_BESIDE = {"kube-state-metrics": "state", "pushgateway": "pushgateway", "shop-redis": "replica-metrics"}
"""Port of each target that no PodMonitor selects."""
