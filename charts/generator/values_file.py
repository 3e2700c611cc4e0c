"""``values.yaml`` with the comment of each value."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Value:
    """One entry of ``values.yaml``.

    Attributes:
        path: The keys that lead to it, joined by dots.
        default: What the file says.
        comment: The ``# --`` comment above it, as one line; empty where it has none.
    """

    path: str
    default: Any
    comment: str


@dataclass(frozen=True, slots=True)
class Group:
    """A mapping of further entries."""

    path: str
    entries: "dict[str, Value | Group]"


def read_values(path: Path) -> Group:
    """Return the entries of a values file; what has a comment is a value, whatever lies below it.

    Raises:
        ValueError: An entry without a comment is no group of entries.
    """
    text = path.read_text()
    return _group(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), "")


def walk(group: Group) -> Iterator[Value]:
    """Yield all values in the order of the file."""
    for entry in group.entries.values():
        if isinstance(entry, Group):
            yield from walk(entry)
        else:
            yield entry


def _group(node: Any, lines: list[str], path: str) -> Group:
    entries: dict[str, Value | Group] = {}
    for key, value in node.value:
        name = f"{path}.{key.value}" if path else key.value
        comment = _comment(lines, key.start_mark.line)
        if comment:
            entries[key.value] = Value(name, _plain(value), comment)
        elif isinstance(value, yaml.MappingNode) and value.value:
            entries[key.value] = _group(value, lines, name)
        else:
            raise ValueError(
                f"values.yaml, line {key.start_mark.line + 1}: {name} has no `# --` comment above it"
            )
    return Group(path, entries)


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


def _plain(node: Any) -> Any:
    loader = yaml.SafeLoader("")
    return loader.construct_object(node, deep=True)
