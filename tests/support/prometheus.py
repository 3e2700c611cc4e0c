"""A real Prometheus over targets of this machine, what is asked of it, and promtool."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from reprise.cli.demo.processes import ProcessTree, free_port

_READY_SECONDS = 180.0
MISSING = "prometheus is not installed (the Debian package of this name)"
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason=MISSING)


def promtool(arguments: Sequence[str], given: str = "") -> str:
    """Run promtool and return what it printed; fails the test if promtool reports an error."""
    found = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, text=True, check=False, timeout=300
    )
    said = found.stdout + found.stderr
    assert found.returncode == 0, f"promtool {' '.join(arguments)}:\n{said}"
    return said


@dataclass(frozen=True)
class Target:
    """What is scraped; ``pushed`` if it passes on what others pushed to it, under their own jobs."""

    job: str
    port: int
    pushed: bool = False
    interval: str = "1s"

    def config(self) -> dict[str, object]:
        return {
            "job_name": self.job,
            "static_configs": [{"targets": [f"127.0.0.1:{self.port}"]}],
            "honor_labels": self.pushed,
            "scrape_interval": self.interval,
        }


def prometheus_command(folder: Path, rules: str, targets: Sequence[Target], port: int) -> list[str]:
    """Write the configuration into a new folder, and return the command line."""
    folder.mkdir()
    (folder / "rules.yaml").write_text(rules)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [target.config() for target in targets],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return [
        "prometheus",
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=20)

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        answer = self._client.post("/api/v1/query", data={"query": promql})
        content = answer.json()
        if content["status"] != "success":
            raise ValueError(f"{content['errorType']}: {content['error']}")
        result = content["data"]["result"]
        if content["data"]["resultType"] == "scalar":
            return [({}, float(result[1]))]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def alerts(self) -> Iterator[dict[str, Any]]:
        """Give every alerting rule with its group, its state, and its instances."""
        for group in self._client.get("/api/v1/rules").json()["data"]["groups"]:
            for rule in group["rules"]:
                if rule["type"] == "alerting":
                    yield {**rule, "group": group["name"]}

    def states(self) -> dict[str, str]:
        return {rule["name"]: rule["state"] for rule in self.alerts()}

    def targets(self) -> dict[str, str]:
        active = self._client.get("/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}

    def wait_watching(self, check: Callable[[], None]) -> None:
        """Return once it has reached every target and evaluated its rules; ``check`` may raise between attempts."""
        give_up = time.monotonic() + _READY_SECONDS
        health: dict[str, str] = {}
        while time.monotonic() < give_up:
            check()
            try:
                health = self.targets()
                judged = all(rule["health"] == "ok" for rule in self.alerts())
            except (httpx.TransportError, ValueError):
                health, judged = {}, False
            if judged and health and set(health.values()) == {"up"}:
                return
            time.sleep(0.2)
        raise TimeoutError(f"Prometheus does not reach all its targets: {health}")


@contextmanager
def running_prometheus(directory: Path, ports: Sequence[int]) -> Iterator[str]:
    """Run a Prometheus that scrapes ports of this machine each second, and give its address."""
    port = free_port()
    targets = [Target(f"predictor-{at}", at) for at in ports]
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    with ProcessTree(directory) as tree:
        tree.start("prometheus", prometheus_command(directory / "data", "groups: []", targets, port))
        prometheus.wait_watching(tree.check)
        yield prometheus.url
