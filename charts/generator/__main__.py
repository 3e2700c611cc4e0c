"""Generate the parts of the chart that follow from the code: ``python charts/generator`` (``--check`` only compares).

The values' schema and page come from ``values.yaml`` and the components' settings classes, the topics from the
library that declares them.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

from settings_schema import COMPONENTS, settings_schema
from values_schema import Group, Value, read_values, values_schema, walk

from reprise.log import TOPICS

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/reprise"


def generated() -> dict[Path, str]:
    """Return the content of every file that is written, by its path."""
    values = read_values(CHART / "values.yaml")
    return {
        CHART / "files/topics.json": _json(_topics()),
        CHART / "values.schema.json": _json(values_schema(values)),
        CHART / "README.md": _page(values, (Path(__file__).parent / "page_head.md").read_text()),
    }


def main() -> int:
    """Write the files; with ``--check`` print what would change."""
    parser = argparse.ArgumentParser(description="Generate the parts of the chart that follow from the code.")
    parser.add_argument(
        "--check", action="store_true", help="only say what would change; exit status 1 if so"
    )
    check = parser.parse_args().check
    stale = False
    for path, text in generated().items():
        before = path.read_text() if path.exists() else ""
        if before == text:
            continue
        stale = True
        if not check:
            path.write_text(text)
            continue
        name = str(path.relative_to(ROOT))
        lines = before.splitlines(True), text.splitlines(True)
        sys.stdout.writelines(difflib.unified_diff(*lines, name, f"{name} as it should be"))
    if check and stale:
        sys.stderr.write("the chart is not up to date: run make chart\n")
    return int(check and stale)


def _topics() -> list[dict[str, object]]:
    return [
        {
            "name": topic.name,
            "partitions": topic.partitions,
            "retentionMs": round(topic.retention.total_seconds() * 1000),
            "cleanup": topic.cleanup,
            "byUser": topic.by_user,
        }
        for topic in TOPICS
    ]


def _page(values: Group, head: str) -> str:
    lines = [head.rstrip(), "", "## Values", ""]
    lines += _table(astuple(entry) for entry in values.values() if isinstance(entry, Value))
    for name, entry in values.items():
        if not isinstance(entry, Value):
            lines += ["", f"### `{name}`", "", *_table(map(astuple, walk(entry)))]
    lines += [
        "",
        "## Settings",
        "",
        "Settings that the `settings` of a component can override; the chart sets the others.",
        "",
    ]
    for name, component in COMPONENTS.items():
        properties = settings_schema(component)["properties"].items()
        rows = ((key, schema.get("default"), schema.get("description", "")) for key, schema in properties)
        lines += [f"### `{name}.settings`", "", *_table(rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: Iterable[tuple[str, Any, str]]) -> list[str]:
    lines = ["| key | default | |", "| --- | --- | --- |"]
    for name, default, comment in rows:
        shown = "" if default in (None, "") else f"`{json.dumps(default, ensure_ascii=False)}`"
        lines.append(f"| `{name}` | {shown} | {comment.replace('|', chr(92) + '|')} |")
    return lines


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
