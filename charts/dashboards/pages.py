"""All dashboards, and the files that the chart holds them in."""

from pathlib import Path

from pydantic import TypeAdapter
from yaml import safe_load

from dashboards.panels import Dashboard

_PAGES = ("overview", "serving", "streaming", "quality", "training", "infrastructure")
_SOURCES = Path(__file__).parent
FOLDER = _SOURCES.parent / "reprise" / "files" / "dashboards"
DASHBOARDS = tuple(
    TypeAdapter(Dashboard).validate_python(
        {"uid": page, **safe_load((_SOURCES / f"{page}.yaml").read_text())}
    )
    for page in _PAGES
)


def files() -> dict[Path, str]:
    """Return the content of every file, by its path."""
    return {FOLDER / f"{dashboard.uid}.json": dashboard.to_json() for dashboard in DASHBOARDS}
