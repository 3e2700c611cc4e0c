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
    each.__name__: each
    for each in (
        *(archive, chart_manifests, chart_values, codes, commands, custom_resource, documents, exit_statuses),
        *(metrics, model_bundle, online_store, openapi, plan, settings),
    )
}


def expected_file(name: str) -> Path:
    """Return the file that freezes a contract."""
    return EXPECTED / f"{name}.txt"
