"""The custom resource definition, generated from the models of spec and status."""

from typing import Any

import yaml

from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import RolloutStatus

GROUP = "reprise.dev"
VERSION = "v1alpha1"
KIND = "ModelRollout"
PLURAL = "modelrollouts"
SHORT = "mr"

_DROPPED = frozenset({"title", "additionalProperties", "const", "$defs"})
_COLUMNS = (
    ("Phase", ".status.phase", "Phase of the rollout.", 0, "string"),
    ("Weights", ".status.weights", "Weights of the arms.", 0, "string"),
    ("Step", ".status.step", "Steps of the candidates.", 0, "string"),
    (
        "Acknowledged",
        ".status.acknowledged",
        "Predictors that have applied the weights, of all.",
        0,
        "string",
    ),
    ("Ready", ".status.conditions[?(@.type=='Ready')].status", "Whether all of them have.", 0, "string"),
    ("Age", ".metadata.creationTimestamp", "", 0, "date"),
    ("Baseline", ".status.baseline.digest", "Digest of the baseline.", 1, "string"),
    ("Message", ".status.message", "What it waits for, or the error.", 1, "string"),
)


def definition() -> dict[str, Any]:
    """Return the definition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": [SHORT],
                "categories": ["reprise"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
                    "schema": {"openAPIV3Schema": _schema()},
                }
            ],
        },
    }


def definition_yaml() -> str:
    """Return the definition as the chart's YAML file."""
    head = "# Written by `reprise-rollout crd` from the models in services/reprise/rollout: edit those.\n"
    return head + yaml.safe_dump(definition(), sort_keys=False, allow_unicode=True, width=120)


def _schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "Progressive rollout of models: a baseline, candidates on shares of the users, their analysis,"
        " and the promotion of a candidate to the baseline.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural(RolloutSpec.model_json_schema(by_alias=True, mode="validation")),
            "status": _structural(RolloutStatus.model_json_schema(by_alias=True, mode="validation"), False),
        },
    }


def _column(name: str, path: str, description: str, priority: int, kind: str) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    if description:
        column["description"] = description
    if priority:
        column["priority"] = priority
    return column


def _structural(schema: dict[str, Any], defaults: bool = True) -> dict[str, Any]:
    """Return a pydantic schema as a structural schema, without references and nulls."""
    return _inlined(schema, schema.get("$defs", {}), defaults)


def _inlined(node: dict[str, Any], definitions: dict[str, Any], defaults: bool) -> dict[str, Any]:
    node = _without_references(node, definitions)
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _inlined(part, definitions, defaults) for name, part in value.items()}
        elif key == "items":
            result[key] = _inlined(value, definitions, defaults)
        elif key == "default":
            if defaults and value is not None:
                result[key] = _plain(value)
        elif key == "const":
            result["enum"] = [value]
        elif key == "exclusiveMinimum":
            result |= {"minimum": value, "exclusiveMinimum": True}
        elif key not in _DROPPED:
            result[key] = _plain(value)
    required = result["items"].get("required", ()) if "items" in result else ()
    if keys := [key for key in ("name", "type") if key in required][:1]:
        result |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}
    return result


def _without_references(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
    if "anyOf" in node:
        (kind,) = (choice for choice in node["anyOf"] if choice.get("type") != "null")
        return _without_references(kind | own, definitions)
    if "$ref" in node:
        return _without_references(definitions[node["$ref"].rpartition("/")[2]] | own, definitions)
    return own


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
