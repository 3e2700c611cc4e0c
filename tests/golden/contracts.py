"""Every frozen contract: what users, operators and stored data depend on, whatever the code looks like."""

from collections.abc import Callable
from pathlib import Path

from golden.model import model_bundle
from golden.storage import archive, online_store, plan

EXPECTED = Path(__file__).parent / "expected"

CONTRACTS: dict[str, Callable[[], str]] = {
    "archive": archive,
    "model_bundle": model_bundle,
    "online_store": online_store,
    "plan": plan,
}


def expected_file(name: str) -> Path:
    """Return the file that freezes a contract."""
    return EXPECTED / f"{name}.txt"
