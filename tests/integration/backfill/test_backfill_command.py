"""What a backfill from files and the offline store leaves in the online store, and the stream going on from there."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reprise.archive import OfflineStore
from reprise.backfill.history import collect_history
from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.backfill.state_writer import backfill
from reprise.events import Event
from reprise.features.plan import Plan
from reprise.log import EVENTS, Topic, open_consumer
from reprise.log.embedded.topic_database import TopicDatabase
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, OnlineStore
from reprise.store.watermarks import Watermarks
from support.archived import files_under
from support.embedded_shop import EmbeddedShop
from support.histories import PLAN_FILE, PROJECT, assert_store_holds, batch_states, event_table, make_events

pytestmark = pytest.mark.redis

PLAN = Plan.load(PLAN_FILE)
CODEC = ViewCodec(PROJECT, PLAN.user.view)


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddedShop:
    kind = getattr(request, "param", "redis")
    monkeypatch.setenv("REDIS_TYPE", kind)
    return EmbeddedShop(
        tmp_path, request.getfixturevalue("redis_server" if kind == "redis" else "redis_cluster")
    )


@pytest.fixture
def online(shop: EmbeddedShop) -> Iterator[OnlineStore]:
    with OnlineStore.connect(shop.redis.settings()) as connected:
        yield connected


def filled(shop: EmbeddedShop, *options: str) -> str:
    """Backfill from the archive, and return what it prints."""
    done = shop.backfill("--offline", shop.offline, *options)
    assert done.exit_code == 0, done.output
    return done.output


def archived(shop: EmbeddedShop, events: Sequence[Event], count: int | None = None) -> None:
    """Append events, of which the archive has the first."""
    shop.append(events[:count])
    shop.archive()
    if count is not None:
        shop.append(events[count:])


def assert_holds(online: OnlineStore, events: Sequence[Event]) -> None:
    assert assert_store_holds(online, PLAN, batch_states(PLAN, events)) > 500


def everything(shop: EmbeddedShop) -> dict[bytes, bytes]:
    with shop.redis.client() as client:
        return {key: client.dump(key) for key in client.scan_iter()}


@pytest.mark.parametrize(
    ("shop", "count"),
    [("redis", 200), ("redis", 400), pytest.param("redis_cluster", 200, marks=pytest.mark.soak)],
    indirect=["shop"],
)
def test_the_stream_goes_on_from_the_archive_with_no_gap_and_nothing_twice(
    shop: EmbeddedShop, online: OnlineStore, count: int
) -> None:
    events = make_events(400)
    archived(shop, events, count)
    assert filled(shop).startswith(f"{count} events: wrote 12 of user_state, 8 of product_state, ")
    outcomes = {"folded": 400 - count, "replayed": count}
    assert shop.fold() == {name: number for name, number in outcomes.items() if number}
    assert_holds(online, events)


class StoppedError(Exception):
    """The backfill was stopped."""


class StoppingStore(ReplaceableStore):
    """Is stopped before a round trip of writes."""

    left = 0

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        if self.left == 0:
            raise StoppedError
        self.left -= 1
        return super().write_guarded(writes)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_backfill_that_was_stopped_is_finished_by_the_next(
    shop: EmbeddedShop, online: OnlineStore, writes: int
) -> None:
    events = make_events(150)
    archived(shop, events)
    history = collect_history(OfflineStore(shop.offline), shop.folder)
    with StoppingStore.connect(shop.redis.settings()) as store:
        store.left = writes
        with pytest.raises(StoppedError):
            backfill(history, PLAN, store, PROJECT, duplicate_window=timedelta(days=1))
    filled(shop)
    assert_holds(online, events)


def test_a_state_that_is_ahead_is_refused_and_left_as_it_is(shop: EmbeddedShop) -> None:
    events = make_events(200)
    archived(shop, events, 100)
    shop.fold()
    before = everything(shop)
    refused = shop.backfill("--offline", shop.offline)
    assert refused.exit_code == 1
    for part in ("rows of user_state", ", of which ", " is the last included", "--replace"):
        assert part in refused.output
    assert everything(shop) == before


@pytest.mark.parametrize("shop", ["redis", "redis_cluster"], indirect=True)
def test_replace_takes_a_state_back_and_the_stream_brings_it_forward_again(
    shop: EmbeddedShop, online: OnlineStore
) -> None:
    events = make_events(200)
    archived(shop, events, 60)
    shop.fold()
    assert ", removed " in filled(shop, "--replace", "--seek-group", "materializer")
    assert shop.fold() == {"folded": 140}
    assert_holds(online, events)


def test_replace_leaves_the_rows_of_another_project_alone(shop: EmbeddedShop, online: OnlineStore) -> None:
    other = ViewCodec(f"other-{PROJECT}", PLAN.user.view)
    row = GuardedWrite(other, other.key("u1"), None, PLAN.user.empty, b"theirs", 1)
    assert online.write_guarded([row]) == [True]
    archived(shop, make_events(60))
    filled(shop, "--replace")
    assert online.read([(other, row.key)])[0].watermarks == b"theirs"


def test_a_state_behind_the_archive_is_brought_forward(shop: EmbeddedShop, online: OnlineStore) -> None:
    events = make_events(200)
    shop.append(events[:80])
    shop.fold()
    shop.append(events[80:])
    shop.archive()
    filled(shop)
    assert_holds(online, events)


def test_an_archive_without_events_or_that_lacks_some_is_refused_by_name(shop: EmbeddedShop) -> None:
    refused = [shop.backfill("--offline", shop.offline)]
    for number in range(4):
        archived(shop, [replace(event, user_id="u") for event in make_events(50, seed=number)])
    root = shop.folder / "offline"
    (root / sorted(files_under(root))[1]).unlink()
    refused.append(shop.backfill("--offline", shop.offline))
    assert [each.exit_code for each in refused] == [1, 1]
    assert "has no record of ecommerce-events" in refused[0].output
    assert ", offsets 50 to 99" in refused[1].output
    assert everything(shop) == {}


def test_a_duplicate_that_comes_after_the_archive_is_dropped(shop: EmbeddedShop, online: OnlineStore) -> None:
    events = make_events(100)
    archived(shop, events)
    filled(shop)
    shop.append([replace(event, product_id="another") for event in events[90:]])
    assert shop.fold() == {"replayed": 100, "duplicate": 10}
    assert_holds(online, events)


def test_duplicates_in_the_archive_are_resolved_as_the_stream_resolves_them(
    shop: EmbeddedShop, online: OnlineStore
) -> None:
    events = make_events(80)
    # earlier by their own timestamps, and of other products, but appended later
    early_us = 90 * 86_400_000_000
    late = [replace(e, product_id="late", timestamp_us=e.timestamp_us - early_us) for e in events[::7]]
    archived(shop, [*events, *late])
    filled(shop)
    assert_holds(online, events)
    shop.redis.flush()
    assert shop.fold()["duplicate"] == len(late)
    assert_holds(online, events)


def test_the_history_before_the_log_and_the_archive_add_up(shop: EmbeddedShop, online: OnlineStore) -> None:
    events = make_events(300)
    history = shop.folder / "history.parquet"
    pq.write_table(event_table(events[:100]), history)
    archived(shop, events[100:], 120)
    filled(shop, "--events", str(history))
    shop.fold()
    assert_holds(online, events)


def test_a_topic_that_was_recreated_goes_on_after_the_old_one(
    shop: EmbeddedShop, online: OnlineStore
) -> None:
    first, second = make_events(100, seed=1), make_events(100, seed=2)
    shop.append(first)
    shop.fold()
    shop.archive()
    shutil.rmtree(shop.log.log_dir)
    archived(shop, second, 50)
    filled(shop)
    assert shop.fold() == {"folded": 50, "replayed": 50}
    assert_holds(online, [*first, *second])


def test_rows_name_the_last_archived_offset_of_every_partition_broken_records_included(
    shop: EmbeddedShop, online: OnlineStore
) -> None:
    events = make_events(60)
    shop.append(events)
    shop.append_records(EVENTS.name, [("u1", b"broken")])
    shop.archive()
    assert filled(shop).startswith("60 events: ")
    [coverage] = OfflineStore(shop.offline).coverage(EVENTS.name)
    archived = {partition: parts[-1].segment.last for partition, parts in coverage.parts.items()}
    assert sum(archived.values()) + len(archived) == 61
    [row] = online.read([(CODEC, CODEC.key("u1"))])
    assert Watermarks.parse(row.watermarks, coverage.topic_id).offsets == archived
    assert_holds(online, events)


@pytest.mark.parametrize("partitions", [2, 8])
def test_a_group_is_set_on_a_topic_with_other_partitions_than_declared(
    shop: EmbeddedShop, partitions: int
) -> None:
    TopicDatabase(shop.folder / "log", Topic(EVENTS.name, partitions)).close()
    archived(shop, make_events(50))
    seek = ("--seek-group", "materializer", "--seek-timeout", "10s")
    done = shop.backfill(*seek, REPRISE_OFFLINE_STORE=shop.offline)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("50 events: ")
    assert shop.fold() == {}


def test_a_group_that_is_in_use_is_left_alone(shop: EmbeddedShop) -> None:
    archived(shop, make_events(50))
    busy = open_consumer(shop.log, EVENTS, "materializer")
    try:
        while len(busy.assignment) < EVENTS.partitions:
            busy.poll(1, 0.1)
        seek = ("--seek-group", "materializer", "--seek-timeout", "1s")
        done = shop.backfill("--offline", shop.offline, *seek)
    finally:
        busy.close()
    assert done.exit_code == 1
    assert "held by other consumers of the group materializer; stop the materializers" in done.output


def test_a_file_of_events_alone_lets_the_stream_fold_every_record_and_is_refused_the_second_time(
    shop: EmbeddedShop, online: OnlineStore
) -> None:
    events = make_events(150)
    history = shop.folder / "history.parquet"
    pq.write_table(event_table(events[:100]), history)
    done = shop.backfill("--events", str(history))
    assert done.exit_code == 0, done.output
    shop.append(events[100:])
    assert shop.fold()["folded"] == 50
    assert_store_holds(online, PLAN, batch_states(PLAN, events))
    again = shop.backfill("--events", str(history))
    assert again.exit_code == 1
    assert "rows of user_state hold events that this backfill would lose" in again.output
    assert "of which none is included" in again.output


def test_file_with_an_event_later_than_the_stream_takes_is_refused_by_row(shop: EmbeddedShop) -> None:
    source = shop.folder / "history.csv"
    source.write_text("user_id,product_id,timestamp\nu,p,2026-01-01\nu,p,2099-01-01\n")
    done = shop.backfill("--events", str(source))
    assert done.exit_code == 1
    assert (
        "history.csv row 2, timestamp: expected an instant at most a day from now, got '2099-01-01'"
        in done.output
    )
    assert f"reprise inspect {source}" in done.output
    done = shop.backfill("--events", str(source), "--on-bad-rows", "drop")
    assert done.stdout.startswith("1 events: ")
    assert "1 rows dropped because they are invalid" in done.stderr


def test_file_without_events_of_the_plan_is_to_be_inspected(shop: EmbeddedShop) -> None:
    source = shop.folder / "history.csv"
    source.write_text("user_id,product_id,timestamp,event_type\nu,p,2026-01-01,cart\n")
    done = shop.backfill("--events", str(source))
    assert done.exit_code == 1
    assert done.output.rstrip().endswith(f"reprise inspect {source}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --events, --offline, or REPRISE_OFFLINE_STORE"),
        (("--events", str(PLAN_FILE), "--seek-group", "materializer"), "--seek-group needs --offline"),
        (("--offline", "nonsense://x"), "nonsense"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    shop: EmbeddedShop, options: tuple[str, ...], message: str
) -> None:
    done = shop.backfill(*options)
    assert done.exit_code != 0
    assert message in done.output
