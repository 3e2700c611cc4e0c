"""Every panel shows data of the running platform, with the labels that Prometheus' operator gives it.

It comes before the incidents (files run by their names), of which some leave features that history does not have.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboards.panels import DASHBOARDS
from e2e.support.customers import Customers
from e2e.support.two_arms import apply_rollout, await_both_arms, train_another
from e2e.support.watched_cluster import WatchedPlatform
from support.observed_platform import Seen, look_at
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

OF_KUBERNETES = {
    (page.title, panel.title) for page in DASHBOARDS for panel in page.panels if panel.needs == "kubernetes"
}


@pytest.fixture
def two_arms(watched_platform: WatchedPlatform, customers: Customers) -> Iterator[None]:
    """A rollout with two arms, whose users' outcomes are known and pushed."""
    platform = watched_platform.platform
    with ThreadPoolExecutor(1) as meanwhile:
        scoring = meanwhile.submit(platform.run_job, "scoring")
        before, after = train_another(platform, TRAINER_SEED="8")
        scoring.result()
    apply_rollout(platform, "panels", before, after, metrics=[{"type": "ErrorRate", "max": 0.5}])
    try:
        await_both_arms(platform)
        customers.await_sent(301, 90)
        platform.run_job("outcomes")
        yield
    finally:
        platform.kubectl("delete", "modelrollout", "panels", "--timeout=30s")


@pytest.mark.usefixtures("two_arms")
def test_every_panel_has_data(watched_platform: WatchedPlatform) -> None:
    namespace = watched_platform.platform.namespace

    def panels() -> list[Seen]:
        return look_at(watched_platform.prometheus, {"kafka": "needs Kafka"}, namespace)[0]

    def without_problem() -> list[Seen] | None:
        found = panels()
        return found if all(seen.values for seen in found if not seen.state) else None

    try:
        found = wait_until("every panel has data", without_problem, 60, every=2)
    except TimeoutError:
        found = panels()
    for seen in found:
        print(
            f"{seen.page}: {seen.title}: {seen.state or seen.problem or dict(list(seen.values.items())[:3])}"
        )
    assert [(seen.page, seen.title, seen.problem) for seen in found if seen.problem] == []
    assert {(seen.page, seen.title) for seen in found if seen.values} >= OF_KUBERNETES
    assert {seen.state for seen in found} <= {"", "needs Kafka"}
