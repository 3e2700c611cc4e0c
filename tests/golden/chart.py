"""The chart: its values, its custom resource, and what it renders for each case of the chart's tests."""

import json
from typing import Any

import yaml

from charts.conftest import CASES
from golden.text import as_text, code_without_prose, digest, without_prose
from support.chart import CHART, render


def custom_resource() -> str:
    [path] = (CHART / "crds").iterdir()
    found = without_prose(yaml.safe_load(path.read_text()))
    for version in found["spec"]["versions"]:
        for column in version["additionalPrinterColumns"]:
            column.pop("description", None)
    return as_text(found) + "\n"


def chart_values() -> str:
    schema = without_prose(json.loads((CHART / "values.schema.json").read_text()))
    files = {path.name: yaml.safe_load(path.read_text()) for path in sorted(CHART.glob("values*.yaml"))}
    parts = {f"schema of {name}": digest(part) for name, part in schema["properties"].items()}
    parts |= {f"values of {name}": digest(part) for name, part in files["values.yaml"].items()}
    whole = {"schema": digest(schema)} | {name: digest(content) for name, content in files.items()}
    return as_text(whole | parts) + "\n"


def chart_manifests() -> str:
    """Return each distinct manifest with the numbers of the cases that render it."""
    rendered: dict[str, list[str]] = {}
    for number, arguments in enumerate(CASES.values(), 1):
        for manifest in render(*arguments, with_schema=True).manifests:
            name = f"{manifest.metadata.namespace or ''}/{manifest.name}"
            line = f"{manifest.kind} {name} {digest(_normalised(manifest.raw))}"
            rendered.setdefault(line, []).append(str(number))
    cases = [f"{number} {case}" for number, case in enumerate(CASES, 1)]
    return "\n".join([*cases, *(f"{line} {','.join(rendered[line])}" for line in sorted(rendered))]) + "\n"


def _normalised(raw: dict[str, Any]) -> Any:
    """Return a manifest without what varies, and without prose.

    Passwords are random. The checksum of a configuration follows from a manifest that is hashed itself.
    """
    kind = raw["kind"]
    if kind == "Secret":
        raw = raw | {key: dict.fromkeys(raw.get(key, {}), "…") for key in ("data", "stringData")}
    if kind == "ConfigMap":
        raw = raw | {"data": {name: _file(name, text) for name, text in raw.get("data", {}).items()}}
    if kind == "PrometheusRule":
        raw = raw | {"spec": {"groups": [_rules(group) for group in raw["spec"]["groups"]]}}
    return _plain(raw)


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        if node.get("command", [])[:2] == ["python", "-c"]:
            node = node | _program(node["command"], node.get("args", []))
        return {key: "…" if key.startswith("checksum/") else _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return node


def _program(command: list[str], arguments: list[str]) -> dict[str, list[str]]:
    code, *rest = command[2:] + arguments
    return {"command": command[:2], "args": [code_without_prose(code), *rest]}


def _rules(group: dict[str, Any]) -> dict[str, Any]:
    rules = [{key: value for key, value in rule.items() if key != "annotations"} for rule in group["rules"]]
    return group | {"rules": rules}


def _file(name: str, text: str) -> Any:
    """Return a mounted file: data where it is data, code without docstrings, else lines without comments."""
    if name.endswith(".json"):
        content = json.loads(text)
        return _dashboard(content) if "panels" in content else content
    if name.endswith((".yaml", ".yml")):
        return yaml.safe_load(text)
    if name.endswith(".py"):
        return code_without_prose(text)
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def _dashboard(content: dict[str, Any]) -> dict[str, Any]:
    """Return what a dashboard asks and where, but not its titles and texts."""
    kept = {key: content.get(key) for key in ("uid", "refresh", "time")}
    variables = [
        {key: each.get(key) for key in ("name", "type", "query", "multi", "includeAll")}
        for each in content.get("templating", {}).get("list", [])
    ]
    return kept | {"variables": variables, "panels": [_panel(panel) for panel in content["panels"]]}


def _panel(panel: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": panel["type"],
        "place": panel.get("gridPos"),
        "unit": panel.get("fieldConfig", {}).get("defaults", {}).get("unit"),
        "targets": [target.get("expr") for target in panel.get("targets", [])],
        "panels": [_panel(inner) for inner in panel.get("panels", [])],
    }
