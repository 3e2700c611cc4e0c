"""The chart's page: every value, its default, and what it means."""

import json
from typing import Any

from settings_schema import COMPONENTS, settings_schema
from values_file import Group, walk


def values_page(values: Group, head: str) -> str:
    """Return the page: the given beginning, the values of each part, the settings of each component."""
    lines = [head.rstrip(), "", "## Values", ""]
    top = [entry for entry in values.entries.values() if not isinstance(entry, Group)]
    lines += _table([(value.path, value.default, value.comment) for value in top])
    for name, entry in values.entries.items():
        if isinstance(entry, Group):
            lines += ["", f"### `{name}`", ""]
            lines += _table([(value.path, value.default, value.comment) for value in walk(entry)])
    lines += [
        "",
        "## Settings",
        "",
        "Settings that the `settings` of a component can override; the chart sets the others.",
        "",
    ]
    for name, component in COMPONENTS.items():
        properties = settings_schema(component)["properties"]
        lines += [f"### `{name}.settings`", ""]
        lines += _table(
            [
                (key, schema.get("default"), schema.get("description", ""))
                for key, schema in properties.items()
            ]
        )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: list[tuple[str, Any, str]]) -> list[str]:
    head = ["| key | default | |", "| --- | --- | --- |"]
    return head + [
        f"| `{name}` | {_default(default)} | {comment.replace('|', chr(92) + '|')} |"
        for name, default, comment in rows
    ]


def _default(value: Any) -> str:
    return "" if value is None or value == "" else f"`{json.dumps(value, ensure_ascii=False)}`"
