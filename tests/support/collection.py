"""Hooks of pytest for ``tests/conftest.py``: which tests run, in which worker and order, and which are quarantined."""

import gc
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from support.logs import reset_logs

SOAK = os.environ.get("REPRISE_SOAK") == "1"
"""Whether doses are full, and tests marked ``soak`` run."""

FLAKY_PAGE = Path(__file__).parents[2] / "docs/flaky.md"

_GROUPS = {
    "tests/integration/observability/": "observed platform",
    "tests/charts/": "chart",
    "tests/integration/kafka/": "kafka broker",
    "tests/integration/archiver/test_archiver_on_kafka.py": "kafka broker",
    "tests/integration/features/": "discovered features",
    "tests/integration/feast/": "feast repository",
    "tests/integration/store/test_feast_layout.py": "feast repository",
    "tests/unit/doctor/test_feast_registry.py": "feast repository",
    "tests/integration/store/": "redis cluster",
    "tests/integration/doctor/test_doctor_store.py": "redis cluster",
    "tests/integration/backfill/test_backfill_command.py": "redis cluster",
}
"""What tests share, by where they are. A group runs in one worker, the long ones first, and shares its services."""

_ORDER = tuple(dict.fromkeys(_GROUPS.values()))
_QUARANTINED = "quarantined: "


def pytest_configure(config: pytest.Config) -> None:
    """Let SIGINT interrupt what tests start, although a shell may ignore it; set how many examples properties have."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    reset_logs()
    # A busy machine makes a property slow, not wrong.
    settings.register_profile("reprise", settings(deadline=None, max_examples=200 if SOAK else 40))
    settings.load_profile("reprise")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the soak, quarantine flaky tests, and start with the groups and the files that have slow tests."""
    left_out = [] if SOAK else [item for item in items if item.get_closest_marker("soak")]
    config.hook.pytest_deselected(items=left_out)
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def rank(item: pytest.Item) -> int:
        group = group_of(item.nodeid)
        return _ORDER.index(group) if group in _ORDER else len(_ORDER) + (item.path not in slow)

    items[:] = sorted((item for item in items if item not in left_out), key=rank)
    for item in items:
        _quarantine(item)


def pytest_collectstart() -> None:
    """Look for no garbage among modules of tests and what they import, which stay: that takes a third of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage from now on, without the modules that are loaded."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let extension modules be freed at exit, or some report leaks."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give each worker whole groups of tests."""
    return _GroupScheduling(config, log)


class _GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the quarantined tests, and those of them that failed."""
    counts = {
        outcome: sum(
            getattr(report, "wasxfail", "").startswith(_QUARANTINED)
            for report in terminalreporter.getreports(outcome)
        )
        for outcome in ("xfailed", "xpassed")
    }
    if total := sum(counts.values()):
        terminalreporter.write_line(
            f"{total} quarantined (docs/flaky.md), {counts['xfailed']} of them failed"
        )


def group_of(nodeid: str) -> str:
    """Return which group a test belongs to: that of its folder or file, otherwise its file is one."""
    path = nodeid.partition("::")[0]
    return next((group for start, group in _GROUPS.items() if path.startswith(start)), path)


def _quarantine(item: pytest.Item) -> None:
    """Have a failure of a test marked ``flaky("heading")`` fail nothing; the page has the issue under this heading."""
    if (marker := item.get_closest_marker("flaky")) is None:
        return
    (heading,) = marker.args
    if heading not in re.findall(r"^## (.+)$", FLAKY_PAGE.read_text(), re.MULTILINE):
        raise pytest.UsageError(f"{item.nodeid}: docs/flaky.md has no heading {heading!r}")
    item.add_marker(pytest.mark.xfail(reason=f"{_QUARANTINED}{heading}", strict=False))
