"""Faults make their alerts fire, and mending makes them clear. Comes last: faults leave traces."""

import pytest

from support.incidents import ROUNDS, run_round, shortened_prometheus
from support.observed_platform import Platform
from support.prometheus import Prometheus

pytestmark = [pytest.mark.slow, pytest.mark.soak]


@pytest.fixture(scope="module")
def prometheus(observed: Platform) -> Prometheus:
    return shortened_prometheus(observed)


@pytest.mark.parametrize("name", ROUNDS)
def test_faults_make_their_alerts_fire_and_mending_makes_them_clear(
    observed: Platform, prometheus: Prometheus, name: str
) -> None:
    outcomes = run_round(observed, prometheus, name)
    print(*outcomes, sep="\n")
    assert [outcome.alert for outcome in outcomes if outcome.fired_after is None] == []
    assert [outcome.alert for outcome in outcomes if outcome.cleared_after is None] == []
