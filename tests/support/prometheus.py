"""A real Prometheus for the tests that need one."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.redis import free_port

MISSING = "prometheus is not installed"
_CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: predictors
    static_configs:
      - targets: [{targets}]
"""


def prometheus_path() -> str | None:
    """The Prometheus of this machine, if it has one."""
    return shutil.which("prometheus")


@contextmanager
def running_prometheus(directory: Path, ports: Sequence[int]) -> Iterator[str]:
    """Run a Prometheus that scrapes ports of this machine each second; gives its address."""
    path = prometheus_path()
    if path is None:
        raise FileNotFoundError(MISSING)
    config = directory / "prometheus.yml"
    config.write_text(_CONFIG.format(targets=", ".join(f"'127.0.0.1:{port}'" for port in ports)))
    port = free_port()
    command = [path, f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process, directory / "prometheus.log")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 20
    while True:
        try:
            if httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"Prometheus did not start:\n{log.read_text()}")
        time.sleep(0.05)
