"""Pods restart at the upgrade after a Secret from elsewhere has changed; a small API server has the Secrets."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from charts.conftest import EXTERNAL
from support.chart import Release, render

SECRETS = ("kafka-users", "kafka-ca", "redis-users", "redis-ca", "s3")
KAFKA = {
    "predictor",
    "producer",
    "materializer",
    "archiver",
    "backfill",
    "doctor",
    "topics",
    "seed",
    "kafdrop",
}
REDIS = {"predictor", "materializer", "backfill", "doctor", "feast", "rollout", "outcomes", "seed"}
READERS = {
    "kafka-users": KAFKA,
    "kafka-ca": KAFKA,
    "redis-users": REDIS,
    "redis-ca": REDIS,
    "s3": {
        "predictor",
        "archiver",
        "compaction",
        "trainer",
        "backfill",
        "doctor",
        "feast",
        "outcomes",
        "seed",
    },
}
OPTIONS = ("-f", "dev", *EXTERNAL, "--set=rollout.enabled=true,outcomes.enabled=true")


@contextmanager
def api_server(secrets: dict[str, str]) -> Iterator[str]:
    """Give the address of an API server that has only Secrets, each with the given content."""
    kinds = {(each.raw["apiVersion"], each.kind) for each in render(*OPTIONS).manifests} | {("v1", "Secret")}
    versions = sorted({version for version, _ in kinds} - {"v1"})
    served: dict[str, dict[str, Any]] = {
        "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(each) for each in versions]},
    }
    for version in [*versions, "v1"]:
        served[f"/apis/{version}" if "/" in version else f"/api/{version}"] = {
            "kind": "APIResourceList",
            "groupVersion": version,
            "resources": [
                {"name": f"{kind.lower()}s", "kind": kind, "namespaced": True, "verbs": ["get"]}
                for of, kind in sorted(kinds)
                if of == version
            ],
        }
    for name, content in secrets.items():
        served[f"/api/v1/namespaces/reprise/secrets/{name}"] = {
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "data": {"content": content},
        }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.get(self.path.partition("?")[0])
            body = found or {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _group(version: str) -> dict[str, Any]:
    served = {"groupVersion": version, "version": version.partition("/")[2]}
    return {"name": version.partition("/")[0], "versions": [served], "preferredVersion": served}


def checksums(secrets: dict[str, str]) -> dict[str, str]:
    """Return the checksum of the Secrets that each component has."""
    with api_server(secrets) as url:
        server = ("--dry-run=server", "--disable-openapi-validation", f"--kube-apiserver={url}")
        return _checksums(render(*OPTIONS, *server))


def _checksums(release: Release) -> dict[str, str]:
    return {
        pod.metadata.labels["app.kubernetes.io/component"]: pod.metadata.annotations["checksum/secret"]
        for each, pod in release.pods()
        if "checksum/secret" in pod.metadata.annotations
    }


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return checksums(dict.fromkeys(SECRETS, "b2xk"))


@pytest.mark.parametrize("name", SECRETS)
def test_a_changed_secret_restarts_its_readers_and_nobody_else(name: str, before: dict[str, str]) -> None:
    after = checksums(dict.fromkeys(SECRETS, "b2xk") | {name: "bmV3"})
    assert before.keys() == after.keys()
    assert {component for component in before if before[component] != after[component]} == READERS[name]


def test_readers_are_those_whose_pods_refer_to_the_secret() -> None:
    found: dict[str, set[str]] = {name: set() for name in SECRETS}
    for each, pod in render(*OPTIONS).pods():
        text = each.raw["spec"]
        for name in SECRETS:
            if each.kind != "Pod" and json.dumps(name) in json.dumps(text):
                found[name].add(pod.metadata.labels["app.kubernetes.io/component"])
    assert found == READERS
