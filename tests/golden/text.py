"""Contracts as text: stable, compact, and without prose."""

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BUILD = Path(__file__).parents[2] / "build" / "golden"
_WIDTH = 160
_PROSE = {"title", "description", "summary"}
_EXAMPLES = {"example", "examples"}
_SCHEMAS = ("#/components/schemas/", "#/$defs/")


def as_text(value: Any, indent: str = "") -> str:
    """Return JSON with each container that fits on one line."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    if len(indent) + len(line) <= _WIDTH or not isinstance(value, dict | list | tuple) or not value:
        return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}: {as_text(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + as_text(item, inner) for item in value) + f"\n{indent}]"


def digest(content: object) -> str:
    """Return the sha256 of bytes or of a value as JSON, and keep what was hashed in ``build/golden``."""
    data = content if isinstance(content, bytes) else (as_text(content) + "\n").encode()
    found = hashlib.sha256(data).hexdigest()
    _BUILD.mkdir(parents=True, exist_ok=True)
    (_BUILD / found).write_bytes(data)
    return found


def without_prose(node: Any, *, names: bool = False) -> Any:
    """Return a schema without its titles, descriptions, summaries and examples.

    Args:
        node: Any part of an OpenAPI document or a JSON schema.
        names: Whether the keys are names of properties, which are kept.
    """
    if isinstance(node, list):
        return [without_prose(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    return {
        key: without_prose(value, names=key == "properties" and not names)
        for key, value in node.items()
        if names or not ((key in _PROSE and isinstance(value, str)) or key in _EXAMPLES)
    }


def numbered_schemas(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document whose schemas have numbers instead of the names of classes, in the order of their use."""
    known = document.get("$defs") or document.get("components", {}).get("schemas", {})
    order: list[str] = []

    def resolved(node: Any) -> Any:
        if isinstance(node, list):
            return [resolved(item) for item in node]
        if isinstance(node, Mapping):
            return {key: resolved(value) for key, value in node.items()}
        if isinstance(node, str) and node.startswith(_SCHEMAS):
            name = node.rpartition("/")[2]
            if name not in order:
                order.append(name)
            return f"schema {order.index(name)}"
        return node

    rest = {key: value for key, value in document.items() if key not in {"$defs", "components"}}
    others = {key: value for key, value in document.get("components", {}).items() if key != "schemas"}
    found = resolved(rest) | ({"components": resolved(others)} if others else {})
    schemas: dict[str, Any] = {}
    while len(schemas) < len(order):
        schemas[f"schema {len(schemas)}"] = resolved(known[order[len(schemas)]])
    return found | {"schemas": schemas, "unused schemas": len(known) - len(order)}


def code_without_prose(source: str) -> str:
    """Return Python without its comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
