"""The custom resource definition, generated from the models of spec and status."""

import hashlib
import json
from typing import Any

import yaml

from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import RolloutStatus

GROUP = "reprise.dev"
VERSION = "v1alpha1"
KIND = "ModelRollout"
PLURAL = "modelrollouts"
SHORT = "mr"
DEFINITION = f"{GROUP}/definition"
"""Annotation with the hash of the definition, by which Helm knows one of another version."""

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
    spec = {
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
    }
    version = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "annotations": {DEFINITION: version}},
        "spec": spec,
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
            "spec": _structural(RolloutSpec.model_json_schema(), defaults=True),
            "status": _structural(RolloutStatus.model_json_schema(), defaults=False),
        },
    }


def _column(name: str, path: str, description: str, priority: int, kind: str) -> dict[str, Any]:
    optional = {"description": description, "priority": priority}
    column = {"name": name, "type": kind, "jsonPath": path}
    return column | {key: value for key, value in optional.items() if value}


def _structural(schema: dict[str, Any], *, defaults: bool) -> dict[str, Any]:
    definitions = schema.get("$defs", {})

    def inlined(node: dict[str, Any]) -> dict[str, Any]:
        node = _without_references(node, definitions)
        result: dict[str, Any] = {}
        for key, value in node.items():
            if key == "properties":
                result[key] = {name: inlined(part) for name, part in value.items()}
            elif key == "items":
                result[key] = inlined(value)
            elif key == "const":
                result["enum"] = [value]
            elif key == "exclusiveMinimum":
                result |= {"minimum": value, "exclusiveMinimum": True}
            elif key not in _DROPPED and (key != "default" or (defaults and value is not None)):
                result[key] = value
        required = result["items"].get("required", ()) if "items" in result else ()
        if keys := [key for key in ("name", "type") if key in required][:1]:
            result |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}
        return result

    return inlined(schema)


def _without_references(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
    if "anyOf" in node:
        (kind,) = (choice for choice in node["anyOf"] if choice.get("type") != "null")
        return _without_references(kind | own, definitions)
    if "$ref" in node:
        return _without_references(definitions[node["$ref"].rpartition("/")[2]] | own, definitions)
    return own
