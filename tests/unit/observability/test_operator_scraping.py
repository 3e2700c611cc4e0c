"""What stands in for Prometheus' operator in tests on a cluster gives the labels that the operator gives."""

from typing import Any

import pytest

from support.operator_scraping import over_http, scrape_configs, watching_configs

MONITOR: dict[str, Any] = {
    "metadata": {"namespace": "shop", "name": "reprise-predictor"},
    "spec": {
        "selector": {"matchLabels": {"app.kubernetes.io/component": "predictor"}},
        "podTargetLabels": ["app.kubernetes.io/component"],
        "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": "1s"}],
    },
}


def test_targets_are_the_port_of_the_chosen_pods_under_the_names_that_the_operator_gives() -> None:
    [config] = scrape_configs([MONITOR])
    relabelled = config["relabel_configs"]
    assert config["job_name"] == "podMonitor/shop/reprise-predictor/0"
    assert config["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": ["shop"]}}]
    assert {
        "action": "keep",
        "source_labels": [
            "__meta_kubernetes_pod_label_app_kubernetes_io_component",
            "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_component",
        ],
        "regex": "(predictor);true",
    } in relabelled
    targets = {each["target_label"]: each for each in relabelled if "target_label" in each}
    assert targets.keys() == {
        "namespace",
        "container",
        "pod",
        "app_kubernetes_io_component",
        "job",
        "endpoint",
    }
    assert targets["job"]["replacement"] == "shop/reprise-predictor"
    assert targets["endpoint"]["replacement"] == "metrics"


def test_a_monitor_that_asks_for_more_is_not_half_translated() -> None:
    spec = MONITOR["spec"] | {
        "podMetricsEndpoints": [{"port": "metrics", "interval": "1s", "scheme": "https"}]
    }
    with pytest.raises(ValueError, match="scheme"):
        scrape_configs([MONITOR | {"spec": spec}])


def test_targets_are_found_over_http_in_the_same_namespace() -> None:
    [config] = scrape_configs([MONITOR])
    found = over_http(config, "http://t")
    assert "kubernetes_sd_configs" not in found
    assert found["http_sd_configs"] == [{"url": "http://t/pods?namespace=shop", "refresh_interval": "1s"}]
    assert found["relabel_configs"] == config["relabel_configs"]
    kubelet = over_http(watching_configs("shop")[0], "http://t")
    assert kubelet["http_sd_configs"][0]["url"] == "http://t/nodes"
