"""An upgrade from an earlier version and the way back, under load through the Ingress; the tests build on one another.

``make e2e-upgrade`` builds the images of both versions and runs it. Users, products and events are its own, none of the
history, so that the batch executor needs only what was accepted to say what each feature has to be.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from e2e.support.cluster import RELEASE, ROOT, CommandError, Platform
from e2e.support.steady_load import SteadyLoad
from reprise.cli.demo.parity import compare_online
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import Event, event_from_fields
from reprise.features.plan import Plan
from support.waiting import wait_until

EARLIER = Path(os.environ.get("REPRISE_E2E_EARLIER", ""))
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not EARLIER.name, reason="there is no earlier version to upgrade from; see make e2e-upgrade"
    ),
]

NAMESPACE_SUFFIX = "-upgrade"
PLATFORM = {"extra_values": ("upgrade.yaml",), "checkout": EARLIER, "image_tag": "earlier"}
RATE = 100
USERS, PRODUCTS = 500, 60
PAIRS = [(f"upgrade-{user}", f"upgrade-product-{user % PRODUCTS}") for user in range(USERS)]
SERVICES = ("predictor", "producer", "materializer", "archiver", "status")
REPEATED = 50
"""Every such request repeats the event before it, as a shop does that has missed an answer."""

COUNT_PREDICTIONS = """
from reprise.archive import OfflineStore
store = OfflineStore("/var/lib/reprise/offline")
parts = [part for c in store.coverage("ecommerce-predictions") for each in c.parts.values() for part in each]
users = [user for part in parts for batch in store.read(part) for user in batch.column("user_id").to_pylist()]
print(sum((user or "").startswith("upgrade-") for user in users))
"""


@dataclass
class EventLoad(SteadyLoad):
    """Sends an event per request; which, follows from its number."""

    path: str = "/events"
    accepted: dict[str, Event] = field(default_factory=dict)
    first: datetime = field(default_factory=lambda: datetime.now(UTC))

    def body(self, turn: int) -> dict[str, Any]:
        turn -= turn % REPEATED == REPEATED - 1
        purchase = turn % 3 > 0
        return {
            "event_id": f"upgrade-{self.first.timestamp():.0f}-{turn}",
            "user_id": f"upgrade-{turn % USERS}",
            "product_id": f"upgrade-product-{(turn // USERS + turn % USERS) % PRODUCTS}",
            "event_type": "purchase" if purchase else "view",
            "amount": 5 + turn % 80 / 8 if purchase else None,
            "timestamp": (self.first + timedelta(seconds=turn / self.rate)).isoformat(),
        }

    def heed(self, turn: int, body: dict[str, Any], answer: dict[str, Any]) -> None:
        assert answer["accepted"] == 1
        with self._lock:
            self.accepted[body["event_id"]] = event_from_fields(body)


@dataclass
class Versions:
    """The release, which both versions are installed as, and the load on it."""

    now: Platform
    earlier: Platform
    digest: str
    predictions: SteadyLoad
    events: EventLoad
    began: float

    def wait_for(self, version: Platform) -> None:
        """Wait until a version's pods have replaced all others and have served for a while."""
        for name in SERVICES:
            version.kubectl("rollout", "status", f"deployment/reprise-{name}", "--timeout=300s")
        wait_until("the others are gone", lambda: self.images() == {version.image_tag or version.tag}, 120)
        time.sleep(5)

    def images(self) -> set[str]:
        """Return the tags of the pods of all services, ending ones included."""
        selector = (
            f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component in ({','.join(SERVICES)})"
        )
        pods = self.now.get("pods", f"--selector={selector}")["items"]
        return {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods}

    def assert_flawless(self) -> None:
        """Check that nothing failed so far, and print how much was asked."""
        seconds = time.monotonic() - self.began
        for load, status in ((self.predictions, "200"), (self.events, "202")):
            print(f"{load.path}: {load.answered} in {seconds:.0f} s, {dict(load.statuses)}")
            assert set(load.statuses) == {status}, "\n".join(load.failures[:20])
            assert load.answered > 0.5 * RATE * seconds, "the machine is too slow to say something about load"


@pytest.fixture(scope="module")
def versions(platform: Platform) -> Iterator[Versions]:
    """The earlier version with a model that it trained, in use."""
    now = replace(platform, checkout=ROOT, image_tag="")
    platform.run_job("datagen")
    platform.run_job("trainer")
    platform.run_job("backfill")
    platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=120s")
    with platform.client as client:
        wait_until("the Ingress leads to the predictor", lambda: client.get("/ready").status_code == 200, 60)
        digest = client.get("/model/info").json()["digest"]
    with (
        SteadyLoad(platform.client, rate=RATE, pairs=PAIRS, threads=32) as predictions,
        EventLoad(platform.client, rate=RATE, pairs=PAIRS, threads=32) as events,
    ):
        began = time.monotonic()
        time.sleep(10)
        yield Versions(now, platform, digest, predictions, events, began)


def test_an_upgrade_under_load_fails_no_request(versions: Versions) -> None:
    versions.now.apply_definitions()
    versions.now.upgrade()
    versions.wait_for(versions.now)
    versions.assert_flawless()


def test_a_rollback_under_load_fails_no_request(versions: Versions) -> None:
    versions.earlier.helm("rollback", RELEASE)
    versions.wait_for(versions.earlier)
    versions.assert_flawless()


@pytest.mark.skipif(
    'extra="ignore"' in (EARLIER / "libs/reprise/bundle/manifest.py").read_text() if EARLIER.name else False,
    reason="the earlier version reads what this one writes",
)
def test_after_a_rollback_newer_predictors_answer_until_the_earlier_ones_are_given_a_model_they_read(
    versions: Versions,
) -> None:
    now, earlier = versions.now, versions.earlier
    now.upgrade()
    versions.wait_for(now)
    now.run_job("trainer", TRAINER_KEEP_BETTER_LATEST="false")
    with now.client as client:
        wait_until(
            "the new model serves", lambda: client.get("/model/info").json()["digest"] != versions.digest, 60
        )
    earlier.helm("rollback", RELEASE)
    selector = "--selector=app.kubernetes.io/component=predictor"

    def refused() -> bool:
        return "model_refused" in earlier.kubectl("logs", selector, "--tail=50", "--ignore-errors")

    wait_until("an earlier predictor refuses the model of the newer trainer", refused, 120)
    time.sleep(10)
    versions.assert_flawless()
    earlier.upgrade(f"--set=predictor.settings.MODEL_DIGEST={versions.digest}")
    versions.wait_for(earlier)
    versions.assert_flawless()
    with pytest.raises(CommandError, match="has other columns than this version writes"):
        _archived(earlier)


def test_everything_that_was_accepted_is_folded_and_archived_once(versions: Versions, tmp_path: Path) -> None:
    now, predictions, events = versions.now, versions.predictions, versions.events
    now.upgrade()
    versions.wait_for(now)
    for load in (predictions, events):
        load.stop()
    versions.assert_flawless()
    records = events.answered
    wait_until(
        "the archive has it all", lambda: _archived(now) == (len(events.accepted), records), 60, every=2
    )
    counting = ("exec", "deployment/reprise-archiver", "--", "python3", "-c", COUNT_PREDICTIONS)
    assert int(now.kubectl(*counting)) == predictions.answered
    history = tmp_path / "none.parquet"
    pq.write_table(EVENT_SCHEMA.empty_table(), history)
    accepted = list(events.accepted.values())
    pairs = sorted({(event.user_id, event.product_id) for event in accepted[-5 * USERS :]})
    plan = Plan.load(ROOT / "feature_repo/plan/plan.json")
    with now.client as client:
        compared = compare_online(client, "", plan, history, accepted, pairs)
    assert not compared.mismatches
    print(f"{len(accepted)} events of {records} records, {len(pairs)} pairs compared")


def _archived(platform: Platform) -> tuple[int, int]:
    """Return the number of archived events and that of their records, by the archiver's own command."""
    export = ("reprise-archiver", "--export", "/tmp/events.parquet")
    said = platform.kubectl("exec", "deployment/reprise-archiver", "--", *export)
    found = re.search(r"([\d,]+) events of ([\d,]+) records", said)
    assert found, said
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))
