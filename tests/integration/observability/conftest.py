"""The platform under a real Prometheus, started once for this folder and stopped after it."""

from collections.abc import Iterator

import pytest

from support.observed_platform import Platform, missing_programs, observed_platform


@pytest.fixture(scope="package")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform with traffic; what a test breaks, it mends."""
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)}")
    with observed_platform(tmp_path_factory.mktemp("observed")) as running:
        yield running
