"""A small API server with what Helm's ``lookup`` asks for."""

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from support.chart import NAMESPACE, Release, render
from support.http_server import Answer, Request, http_server

_GLOBAL = "CustomResourceDefinition"
_RELEASE = {"meta.helm.sh/release-name": "reprise", "meta.helm.sh/release-namespace": NAMESPACE}


def render_on(objects: Iterable[dict[str, Any]], *options: str) -> Release:
    """Return what the chart makes where the namespace has these objects."""
    kinds = {(each.raw["apiVersion"], each.kind) for each in render(*options).manifests}
    with _api_server(kinds, list(objects)) as url:
        server = ("--dry-run=server", "--disable-openapi-validation", f"--kube-apiserver={url}")
        return render(*options, *server)


def _api_server(kinds: set[tuple[str, str]], objects: list[dict[str, Any]]) -> AbstractContextManager[str]:
    kinds |= {(each["apiVersion"], each["kind"]) for each in objects}
    kinds |= {("v1", "Secret"), ("v1", "ConfigMap"), ("apiextensions.k8s.io/v1", _GLOBAL)}
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
        found = each | {"metadata": owned | each["metadata"]}
        served[f"{folder}/{each['metadata']['name']}"] = found
        served.setdefault(folder, {"kind": "List", "apiVersion": "v1", "items": []})["items"].append(found)

    missing = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}

    def answer(request: Request) -> Answer:
        found = served.get(request.path.partition("?")[0])
        return Answer(200 if found else 404, json.dumps(found or missing).encode())

    return http_server(answer)


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _group(version: str) -> dict[str, Any]:
    served = {"groupVersion": version, "version": version.partition("/")[2]}
    return {"name": version.partition("/")[0], "versions": [served], "preferredVersion": served}
