"""One id leads from the Ingress to the log of the predictor, and on to what is archived of the answer."""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from e2e.support.cluster import Platform
from e2e.support.watched_cluster import WatchedPlatform
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("customers")]

ARCHIVED = """
import pathlib, sys
import pyarrow.compute as pc
import pyarrow.parquet as pq
root = pathlib.Path("/var/lib/reprise/offline")
for path in root.rglob("[!.]*.parquet"):
    if "ecommerce-predictions" not in str(path):
        continue
    predictions = pq.read_table(path, columns=["prediction"])["prediction"].cast("string")
    for found in predictions.filter(pc.match_substring(predictions, sys.argv[1])).to_pylist():
        print(found)
"""


@pytest.fixture
def client(watched_platform: WatchedPlatform) -> Iterator[httpx.Client]:
    with watched_platform.platform.client as client:
        yield client


def _asked(client: httpx.Client, **headers: str) -> httpx.Response:
    body = {"user_id": f"followed-{secrets.token_hex(4)}", "product_id": "p00001"}
    return client.post("/predict", json=body, headers=headers).raise_for_status()


def test_a_trace_is_found_in_the_log_and_in_the_archive(
    watched_platform: WatchedPlatform, client: httpx.Client
) -> None:
    trace = secrets.token_hex(16)
    answer = _asked(client, traceparent=f"00-{trace}-{secrets.token_hex(8)}-01")
    assert trace in answer.headers["traceparent"]
    _is_found(watched_platform.platform, trace)


def test_the_id_that_the_ingress_gives_is_the_trace_where_no_other_is_sent(
    watched_platform: WatchedPlatform, client: httpx.Client
) -> None:
    given = _asked(client).headers["x-request-id"]
    line = _is_found(watched_platform.platform, given.replace("-", ""))
    assert line["request_id"] == given


def _is_found(platform: Platform, trace: str) -> dict[str, Any]:
    def logged() -> dict[str, Any] | None:
        lines = platform.kubectl("logs", "deployment/reprise-predictor", "--since=1m").splitlines()
        return next((json.loads(line) for line in lines if trace in line), None)

    def archived() -> list[dict[str, Any]]:
        found = platform.kubectl(
            "exec", "deployment/reprise-archiver", "--", "python3", "-c", ARCHIVED, trace
        )
        return [json.loads(line) for line in found.splitlines() if line]

    line = wait_until("the request is in the log", logged, 30)
    assert (line["event"], line["path"], line["status"]) == ("request", "/predict", 200)
    [record] = wait_until("the answer is archived", archived, 90, every=2)
    assert record["trace_id"] == line["trace_id"] == trace
    return line


def test_sigusr1_changes_the_level_of_a_running_pod_and_back(watched_platform: WatchedPlatform) -> None:
    platform = watched_platform.platform
    command = "import os, signal; os.kill(1, signal.SIGUSR1)"
    began = time.time()
    restarts = _restarts(platform)
    for level in ("debug", "info"):
        platform.kubectl("exec", "deploy/reprise-predictor", "--", "python3", "-c", command)

        def said(level: str = level) -> bool:
            since = f"--since={int(time.time() - began) + 1}s"
            lines = platform.kubectl("logs", "deploy/reprise-predictor", since).splitlines()
            return any('"log_level_changed"' in line and f'"to": "{level}"' in line for line in lines)

        wait_until(f"the log says that its level is {level}", said, 20)
    assert _restarts(platform) == restarts


def _restarts(platform: Platform) -> int:
    pods = (pod["metadata"]["name"] for pod in platform.pods("predictor"))
    return sum(platform.restarts(pod, "predictor") for pod in pods)
