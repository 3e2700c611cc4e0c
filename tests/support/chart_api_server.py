"""A small API server with what Helm's ``lookup`` asks for."""

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.chart import NAMESPACE, Release, render

_GLOBAL = "CustomResourceDefinition"
_RELEASE = {"meta.helm.sh/release-name": "reprise", "meta.helm.sh/release-namespace": NAMESPACE}


def render_on(objects: Iterable[dict[str, Any]], *options: str) -> Release:
    """Return what the chart makes where the namespace has these objects."""
    kinds = {(each.raw["apiVersion"], each.kind) for each in render(*options).manifests}
    with _api_server(kinds, list(objects)) as url:
        server = ("--dry-run=server", "--disable-openapi-validation", f"--kube-apiserver={url}")
        return render(*options, *server)


@contextmanager
def _api_server(kinds: set[tuple[str, str]], objects: list[dict[str, Any]]) -> Iterator[str]:
    kinds = (
        kinds
        | {(each["apiVersion"], each["kind"]) for each in objects}
        | {("v1", "Secret"), ("v1", "ConfigMap"), ("apiextensions.k8s.io/v1", _GLOBAL)}
    )
    versions = sorted({version for version, _ in kinds} - {"v1"})
    served: dict[str, dict[str, Any]] = {
        "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(each) for each in versions]},
    }
    for version in [*versions, "v1"]:
        served[_root(version)] = {
            "kind": "APIResourceList",
            "groupVersion": version,
            "resources": [
                {"name": f"{kind.lower()}s", "kind": kind, "namespaced": kind != _GLOBAL, "verbs": ["get"]}
                for of, kind in sorted(kinds)
                if of == version
            ],
        }
    for each in objects:
        namespace = "" if each["kind"] == _GLOBAL else f"namespaces/{NAMESPACE}/"
        folder = f"{_root(each['apiVersion'])}/{namespace}{each['kind'].lower()}s"
        owned = {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": _RELEASE}
        served[f"{folder}/{each['metadata']['name']}"] = each | {"metadata": owned | each["metadata"]}

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
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _group(version: str) -> dict[str, Any]:
    served = {"groupVersion": version, "version": version.partition("/")[2]}
    return {"name": version.partition("/")[0], "versions": [served], "preferredVersion": served}
