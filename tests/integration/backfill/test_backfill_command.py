"""The backfill as it is run: from files and URLs, into Redis, with the consumer group's offsets."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reprise.features.plan import Plan
from reprise.log import EVENTS, Topic, open_consumer
from reprise.log.embedded.topic_database import TopicDatabase
from reprise.store.online_store import OnlineStore
from support.embedded_shop import EmbeddedShop
from support.histories import PLAN_FILE, assert_store_holds, batch_states, event_table, make_events
from support.redis import RedisServer

pytestmark = pytest.mark.redis

PLAN = Plan.load(PLAN_FILE)


@pytest.fixture
def shop(tmp_path: Path, redis_server: RedisServer) -> EmbeddedShop:
    return EmbeddedShop(tmp_path, redis_server)


@pytest.fixture
def online(redis_server: RedisServer) -> Iterator[OnlineStore]:
    settings = redis_server.settings()
    with OnlineStore.connect(settings) as connected:
        yield connected


def test_a_lost_store_and_a_group_that_is_ahead_of_the_archive_lose_nothing(
    shop: EmbeddedShop, online: OnlineStore
) -> None:
    events = make_events(300)
    shop.append(events[:200])
    shop.archive()
    shop.append(events[200:])
    assert shop.fold()["folded"] == 300
    shop.redis.flush()
    done = shop.backfill("--offline", shop.offline, "--seek-group", "materializer")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("200 events: wrote 12 of user_state, 8 of product_state, ")
    assert shop.fold() == {"folded": 100}
    assert_store_holds(online, PLAN, batch_states(PLAN, events))


@pytest.mark.parametrize("partitions", [2, 8])
def test_a_group_is_set_on_a_topic_with_other_partitions_than_declared(
    shop: EmbeddedShop, partitions: int
) -> None:
    TopicDatabase(shop.folder / "log", Topic(EVENTS.name, partitions)).close()
    shop.append(make_events(50))
    shop.archive()
    seek = ("--seek-group", "materializer", "--seek-timeout", "10s")
    done = shop.backfill(*seek, REPRISE_OFFLINE_STORE=shop.offline)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("50 events: ")
    assert shop.fold() == {}


def test_a_group_that_is_in_use_is_left_alone(shop: EmbeddedShop) -> None:
    shop.append(make_events(50))
    shop.archive()
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


def test_file_with_an_event_later_than_the_stream_takes_is_refused_by_row(
    shop: EmbeddedShop,
) -> None:
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
    assert done.output.startswith("1 events: ")


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
