"""``values.yaml`` with the comment of each value."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Value:
    """One entry of ``values.yaml``: its keys joined by dots, and the ``# --`` comment above it as one line."""

    path: str
    default: Any
    comment: str


Group = dict[str, "Value | Group"]


def read_values(path: Path) -> Group:
    """Return the entries of a values file; what has a comment is a value, whatever lies below it.

    Raises:
        ValueError: An entry without a comment is no group of entries.
    """
    text = path.read_text()
    return _group(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), "")


def walk(group: Group) -> Iterator[Value]:
    """Yield all values in the order of the file."""
    for entry in group.values():
        yield from [entry] if isinstance(entry, Value) else walk(entry)


def _group(node: Any, lines: list[str], path: str) -> Group:
    entries: Group = {}
    for key, value in node.value:
        name = f"{path}.{key.value}" if path else key.value
        if comment := _comment(lines, key.start_mark.line):
            default = yaml.SafeLoader("").construct_object(value, deep=True)
            entries[key.value] = Value(name, default, comment)
        elif isinstance(value, yaml.MappingNode) and value.value:
            entries[key.value] = _group(value, lines, name)
        else:
            raise ValueError(
                f"values.yaml, line {key.start_mark.line + 1}: {name} has no `# --` comment above it"
            )
    return entries


def _comment(lines: list[str], line: int) -> str:
    said: list[str] = []
    for above in reversed(lines[:line]):
        text = above.strip()
        if text.startswith("# -- "):
            return " ".join([text.removeprefix("# -- "), *reversed(said)])
        if not text.startswith("# "):
            break
        said.append(text.removeprefix("# "))
    return ""
