"""The platform on a cluster, watched by a real Prometheus as the chart's PodMonitors and rules say."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from e2e.support.cluster import Platform
from support.operator_scraping import over_http, scrape_configs, watching_configs
from support.prometheus import Prometheus
from support.shortened_rules import shortened_rules, with_shorter_ages
from support.waiting import wait_until

FACTOR = 60
"""A minute of the rules is a second here."""

_LEAST_WINDOW_SECONDS = 5
_TARGETS = "http://127.0.0.1:9093"
_KINDS = ("podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com")


@dataclass
class WatchedPlatform:
    platform: Platform
    prometheus: Prometheus

    def firing(self, alert: str) -> list[dict[str, Any]]:
        """Return the instances of an alert that fire, as Prometheus tells them."""
        return [
            each
            for rule in self.prometheus.alerts()
            if rule["name"] == alert
            for each in rule["alerts"]
            if each["state"] == "firing"
        ]

    @contextmanager
    def other_rules(self, *, factor: float = FACTOR, ages: float = 1) -> Iterator[None]:
        """Have Prometheus go by other rules until left; it keeps what it has seen.

        Args:
            factor: By how much durations are shortened, where it is not as at other times.
            ages: By how much what must be hours or days old for an alert need be less.
        """
        self._load(factor, ages)
        try:
            yield
        finally:
            self._load(FACTOR, 1)

    def _load(self, factor: float, ages: float) -> None:
        configuration = _configuration(self.platform, factor)
        configuration["rules.yaml"] = with_shorter_ages(configuration["rules.yaml"], ages)
        _apply(self.platform, configuration)
        label = "app.kubernetes.io/name=monitoring"
        # a pod's volumes are looked after when the pod changes, else once a minute
        self.platform.kubectl(
            "annotate", "pods", f"--selector={label}", "--overwrite", f"reprise.dev/rules={factor:g}-{ages:g}"
        )

        def arrived() -> bool:
            return self._in_prometheus("cat /etc/prometheus/rules.yaml") == configuration["rules.yaml"]

        wait_until("the pod has the rules", arrived, 120, every=1)
        self._in_prometheus("kill -HUP 1")

    def _in_prometheus(self, script: str) -> str:
        inside = ("exec", "deployment/monitoring", "--container=prometheus", "--", "sh", "-c", script)
        return self.platform.kubectl(*inside)


@contextmanager
def watched(platform: Platform, *, install: bool = True) -> Iterator[WatchedPlatform]:
    """Install the platform, or take the one that is there, and watch it, its rules shortened, until left.

    Prometheus is configured from the objects that the API server keeps, so the chart's own go the whole way.
    """
    with platform.cluster.definitions(lambda crd: crd["metadata"]["name"] in _KINDS):
        if install:
            platform.install()
        _start(platform)
        with _proxied(platform) as url:
            prometheus = Prometheus(url)
            named = (each["metadata"] for each in _monitors(platform))
            jobs = {f"{each['namespace']}/{each['name']}" for each in named}
            wait_until("Prometheus reaches what it watches", lambda: _all_up(prometheus, jobs), 90)
            yield WatchedPlatform(platform, prometheus)


def _monitors(platform: Platform) -> list[dict[str, Any]]:
    return list(platform.get("podmonitors.monitoring.coreos.com")["items"])


def _configuration(platform: Platform, factor: float) -> dict[str, str]:
    """Return Prometheus' files by name."""
    [rule] = platform.get("prometheusrules.monitoring.coreos.com")["items"]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["/etc/prometheus/rules.yaml"],
        "scrape_configs": [
            over_http(config, _TARGETS)
            for config in (*scrape_configs(_monitors(platform)), *watching_configs(platform.namespace))
        ],
    }
    return {
        "prometheus.yml": yaml.safe_dump(configuration),
        "rules.yaml": shortened_rules(yaml.safe_dump(rule["spec"]), factor, _LEAST_WINDOW_SECONDS),
    }


def _apply(platform: Platform, configuration: dict[str, str]) -> None:
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "monitoring"},
        "data": configuration,
    }
    platform.kubectl("apply", "-f", "-", stdin=json.dumps(config_map))


def _start(platform: Platform) -> None:
    configuration = _configuration(platform, FACTOR)
    _apply(platform, configuration)
    checksum = hashlib.sha256(json.dumps(configuration).encode()).hexdigest()
    manifest = platform.fixture("monitoring.yaml").replace("NAMESPACE", platform.namespace)
    platform.kubectl("apply", "-f", "-", stdin=manifest.replace("CHECKSUM", f'"{checksum}"'))
    platform.kubectl("rollout", "status", "deployment/monitoring", "--timeout=120s")


def _all_up(prometheus: Prometheus, jobs: set[str]) -> bool:
    try:
        health = prometheus.targets()
    except (httpx.HTTPError, ValueError):
        return False
    wanted = jobs | {"kubelet", "kube-state-metrics", "pushgateway"}
    return wanted <= health.keys() and set(health.values()) == {"up"}


@contextmanager
def _proxied(platform: Platform) -> Iterator[str]:
    """Give the address at which Prometheus answers through the API server, which every cluster's kubectl can reach."""
    command = [platform.cluster.kubectl_path, "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", said)
            assert found, f"kubectl proxy said {said!r}"
            service = f"api/v1/namespaces/{platform.namespace}/services/monitoring:prometheus/proxy"
            yield f"http://{found[0]}/{service}"
        finally:
            process.terminate()
