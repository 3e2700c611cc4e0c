"""Every frozen contract: what users, operators and stored data depend on, whatever the code looks like."""

from collections.abc import Callable
from pathlib import Path

from golden.chart import chart_manifests, chart_values, custom_resource
from golden.codes import codes
from golden.commands import commands, exit_statuses
from golden.documents import documents
from golden.http_api import openapi
from golden.metrics import metrics
from golden.model import model_bundle
from golden.settings import settings
from golden.storage import archive, online_store, plan

EXPECTED = Path(__file__).parent / "expected"

CONTRACTS: dict[str, Callable[[], str]] = {
    "archive": archive,
    "chart_manifests": chart_manifests,
    "chart_values": chart_values,
    "codes": codes,
    "commands": commands,
    "custom_resource": custom_resource,
    "documents": documents,
    "exit_statuses": exit_statuses,
    "metrics": metrics,
    "model_bundle": model_bundle,
    "online_store": online_store,
    "openapi": openapi,
    "plan": plan,
    "settings": settings,
}


def expected_file(name: str) -> Path:
    """Return the file that freezes a contract."""
    return EXPECTED / f"{name}.txt"
