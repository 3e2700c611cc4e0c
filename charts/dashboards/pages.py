"""All dashboards, and the files that the chart holds them in."""

from pathlib import Path

from dashboards.infrastructure import INFRASTRUCTURE
from dashboards.overview import OVERVIEW
from dashboards.quality import QUALITY
from dashboards.serving import SERVING
from dashboards.streaming import STREAMING
from dashboards.training import TRAINING

DASHBOARDS = (OVERVIEW, SERVING, STREAMING, QUALITY, TRAINING, INFRASTRUCTURE)
FOLDER = Path(__file__).parent.parent / "reprise" / "files" / "dashboards"


def files() -> dict[Path, str]:
    """Return the content of every file, by its path."""
    return {FOLDER / f"{dashboard.uid}.json": dashboard.to_json() for dashboard in DASHBOARDS}
