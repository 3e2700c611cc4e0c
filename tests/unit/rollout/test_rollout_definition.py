"""The custom resource definition, and the examples."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from reprise.rollout.exceptions import InvalidResourceError
from reprise.rollout.resource.crd import definition, definition_yaml
from reprise.rollout.resource.spec import RolloutSpec

ROOT = Path(__file__).parents[3]
BASELINE = {"digest": "sha256:" + "a" * 64}
EXAMPLES = sorted((ROOT / "k8s/examples").glob("*.yaml"))


def nodes(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, part in schema.get("properties", {}).items():
        found += nodes(part, f"{path}.{name}")
    if "items" in schema:
        found += nodes(schema["items"], f"{path}[]")
    return found


def schema() -> dict[str, Any]:
    (version,) = definition()["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def test_the_charts_definition_is_what_the_models_say():
    written = (ROOT / "charts/reprise/crds/modelrollouts.yaml").read_text()
    assert written == definition_yaml(), "run reprise-rollout crd > charts/reprise/crds/modelrollouts.yaml"


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_explained(part):
    silent = [
        path
        for path, node in nodes(schema()["properties"][part])
        if not path.endswith("[]") and "description" not in node
    ]
    assert [path for path in silent if path] == []


def test_the_schema_is_structural_and_the_lists_of_a_spec_are_bounded():
    for path, node in nodes(schema()):
        assert "type" in node, path
        assert not {"$ref", "anyOf", "additionalProperties", "title"} & node.keys(), path
        assert ("items" in node) == (node["type"] == "array"), path
        if path.startswith(".spec") and node["type"] == "array":
            assert "maxItems" in node, path


def test_the_examples_are_specs():
    resources = [each for example in EXAMPLES for each in yaml.safe_load_all(example.read_text())]
    assert resources
    for resource in resources:
        assert resource["kind"] == "ModelRollout"
        RolloutSpec.parse(resource["spec"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "spec.baseline: Field required"),
        ({"baseline": {"digest": "latest"}}, "spec.baseline.digest: String should match pattern"),
        ({"baseline": BASELINE, "suspended": True}, "spec.suspended: Extra inputs"),
        ({"baseline": BASELINE, "analysis": {"metrics": [{"type": "ErrorRate"}]}}, "maxRatio is required"),
    ],
)
def test_a_spec_that_is_none_names_the_field(content, says):
    with pytest.raises(InvalidResourceError) as refused:
        RolloutSpec.parse(content)
    assert says in str(refused.value)
