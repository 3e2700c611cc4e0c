"""Generate the parts of the chart that follow from the code: ``python charts/generator`` (``--check`` only compares).

The values' schema and page come from ``values.yaml`` and the components' settings classes, the topics from the
library that declares them.
"""

import argparse
import difflib
import json
import sys
from pathlib import Path

from values_file import read_values
from values_page import values_page
from values_schema import values_schema

from reprise.log import TOPICS

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/reprise"


def generated() -> dict[Path, str]:
    """Return the content of every file that is written, by its path."""
    values = read_values(CHART / "values.yaml")
    return {
        CHART / "files/topics.json": _json(_topics()),
        CHART / "values.schema.json": _json(values_schema(values)),
        CHART / "README.md": values_page(values, (Path(__file__).parent / "page_head.md").read_text()),
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
        if check:
            name = str(path.relative_to(ROOT))
            sys.stdout.writelines(
                difflib.unified_diff(
                    before.splitlines(True), text.splitlines(True), name, f"{name} as it should be"
                )
            )
        else:
            path.write_text(text)
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
        }
        for topic in TOPICS
    ]


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
