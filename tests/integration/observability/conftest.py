"""The platform under a real Prometheus, started once for this folder, and a Chromium for each file."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from support.observed_platform import Platform, missing_programs, observed_platform
from support.status_page import running_chromium


@pytest.fixture(scope="package")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform with traffic; what a test breaks, it mends."""
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)}")
    with observed_platform(tmp_path_factory.mktemp("observed")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    with running_chromium() as running:
        yield running
