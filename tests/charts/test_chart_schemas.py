"""Every object is what Kubernetes, Strimzi, KEDA and Prometheus' operator accept; see tests/data/schemas/fetch.py."""

import copy
import functools
import gzip
import json
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from charts.conftest import EXTRAS
from support.chart import CHART, Release, helm, render

_FOLDER = Path(__file__).parents[1] / "data/schemas"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"


def problems(manifest: dict[str, Any]) -> list[str]:
    """Return in what an object breaks the schema of its kind, unknown fields included."""
    validator = _validators()[manifest["apiVersion"], manifest["kind"]]
    return [
        f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message[:300]}"
        for error in validator.iter_errors(manifest)
    ]


@functools.cache
def _validators() -> dict[tuple[str, str], Validator]:
    definitions = _read("kubernetes.json.gz")
    definitions[_QUANTITY] = {"type": ["string", "number"]}
    definitions[_INT_OR_STRING] = {"type": ["string", "integer"]}
    closed = {name: _closed(schema) for name, schema in definitions.items()}
    made: dict[tuple[str, str], Validator] = {}
    for name, schema in closed.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            version = "/".join(part for part in (kind["group"], kind["version"]) if part)
            whole = {"$ref": f"#/definitions/{name}", "definitions": closed}
            made[version, kind["kind"]] = Draft202012Validator(whole)
    metadata = {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    for crd in _read("crds.json.gz"):
        for version in crd["spec"]["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {"metadata": metadata, "apiVersion": {}, "kind": {}}
            key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
            made[key] = Draft202012Validator({**schema, "definitions": closed})
    return made


def _read(name: str) -> Any:
    return json.loads(gzip.decompress((_FOLDER / name).read_bytes()))


def _closed(schema: Any) -> Any:
    """Return a schema that refuses fields it does not name, as the API server does when asked to be strict."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: _closed(value) for key, value in schema.items()}
    if copy.pop("nullable", False) and isinstance(copy.get("type"), str):
        copy["type"] = [copy["type"], "null"]
    # a map of properties may have one called "properties", whose value is a schema as well
    is_schema = isinstance(copy.get("type"), str | list) or "x-kubernetes-group-version-kind" in copy
    if is_schema and "properties" in copy and not copy.get("x-kubernetes-preserve-unknown-fields"):
        copy.setdefault("additionalProperties", False)
    return copy


def test_every_object_is_what_the_api_server_accepts(release: Release) -> None:
    found = {f"{each.kind} {each.name}": problems(each.raw) for each in release.manifests}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_a_field_that_kubernetes_does_not_know_would_be_found() -> None:
    deployment = copy.deepcopy(render("-f", "dev").find("Deployment", "reprise-predictor").raw)
    deployment["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    assert any("redinessProbe" in problem for problem in problems(deployment))


def test_a_field_that_strimzi_does_not_know_would_be_found() -> None:
    kafka = copy.deepcopy(render("-f", "dev").find("Kafka", "reprise-kafka").raw)
    kafka["spec"]["zookeeper"] = {}
    assert any("zookeeper" in problem for problem in problems(kafka))


def test_every_object_is_in_the_namespace_of_the_release_and_of_a_component(release: Release) -> None:
    assert {each.metadata.namespace for each in release.manifests} == {"reprise"}
    assert all(each.component for each in release.manifests)


def test_no_two_objects_have_one_name(release: Release) -> None:
    names = [(each.kind, each.name) for each in release.manifests]
    assert len(names) == len(set(names))


def test_names_that_yaml_reads_as_numbers_or_truth_values_stay_text() -> None:
    given = (
        "--set=trainer.executor=spark,trainer.spark.files=/shared,rollout.clusterRoles.enabled=true",
        "--set=storage.models.trustedKeys=PEM,storage.models.signingKeySecret=signing",
        "--set-string=feast.project=2024,materializer.group=on,archiver.group=123",
    )
    text = helm("template", "123", str(CHART), "--namespace=no", *EXTRAS, *given)
    manifests = [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]
    assert [wrong for each in manifests for wrong in problems(each)] == []
    files = {
        name: file for each in manifests if each["kind"] == "ConfigMap" for name, file in each["data"].items()
    }
    assert yaml.safe_load(files["feature_store.yaml"])["project"] == "2024"
    assert "spark.kubernetes.namespace no\n" in files["spark-defaults.conf"]
