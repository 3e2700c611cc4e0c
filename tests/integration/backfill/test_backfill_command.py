"""The backfill as it is run: from files and URLs, into Redis, with the consumer group's offsets."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.archiver.runner import archive_until_idle
from reprise.archiver.settings import ArchiverSettings
from reprise.backfill.main import command
from reprise.events import Event, encode_event
from reprise.features.plan import Plan
from reprise.log import EVENTS, EventLogSettings, Topic, open_consumer, open_producer
from reprise.log.embedded.topic_database import TopicDatabase
from reprise.materializer.runner import fold_until_idle
from reprise.materializer.settings import MaterializerSettings
from reprise.store.online_store import OnlineStore
from reprise.store.settings import OnlineStoreSettings
from support.histories import PLAN_FILE, assert_store_holds, batch_states, event_table, make_events
from support.redis import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[OnlineStore]:
    settings = OnlineStoreSettings(redis_host=redis_server.host, redis_port=redis_server.port)
    with OnlineStore.connect(settings) as connected:
        yield connected


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.load(PLAN_FILE)


def append(folder: Path, events: Sequence[Event]) -> None:
    producer = open_producer(EventLogSettings(log_dir=folder / "log"))
    for event in events:
        producer.append(EVENTS.name, event.user_id.encode(), encode_event(event))
    producer.close(10)


def archive(folder: Path) -> None:
    settings = ArchiverSettings(log_dir=folder / "log", offline_store=str(folder / "offline"))
    archive_until_idle(settings, 0.2)


def materialize(folder: Path, server: RedisServer) -> dict[str, int]:
    settings = MaterializerSettings(
        log_dir=folder / "log", redis_host=server.host, redis_port=server.port, plan=PLAN_FILE
    )
    return fold_until_idle(settings, 0.5)


def backfill(folder: Path, server: RedisServer, *options: str) -> Result:
    address = ["--redis-host", server.host, "--redis-port", str(server.port), "--plan", str(PLAN_FILE)]
    silent = {"REPRISE_PROGRESS": "off", "REPRISE_OFFLINE_STORE": None}
    return CliRunner(env=silent).invoke(command, [*address, "--log-dir", str(folder / "log"), *options])


def test_a_lost_store_and_a_group_that_is_ahead_of_the_archive_lose_nothing(
    store: OnlineStore, plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    events = make_events(300)
    append(tmp_path, events[:200])
    archive(tmp_path)
    append(tmp_path, events[200:])
    assert materialize(tmp_path, redis_server)["folded"] == 300
    redis_server.flush()
    done = backfill(
        tmp_path, redis_server, "--offline", str(tmp_path / "offline"), "--seek-group", "materializer"
    )
    assert done.exit_code == 0, done.output
    assert done.output.startswith("200 events: wrote 12 of user_state, 8 of product_state, ")
    assert materialize(tmp_path, redis_server) == {"folded": 100}
    assert_store_holds(store, plan, batch_states(plan, events))


@pytest.mark.parametrize("partitions", [2, 8])
def test_a_group_is_set_on_a_topic_with_other_partitions_than_declared(
    tmp_path: Path, redis_server: RedisServer, partitions: int
) -> None:
    TopicDatabase(tmp_path / "log", Topic(EVENTS.name, partitions)).close()
    append(tmp_path, make_events(50))
    archive(tmp_path)
    done = backfill(
        tmp_path,
        redis_server,
        *("--offline", str(tmp_path / "offline"), "--seek-group", "materializer", "--seek-timeout", "10s"),
    )
    assert done.exit_code == 0, done.output
    assert materialize(tmp_path, redis_server) == {}


def test_a_group_that_is_in_use_is_left_alone(tmp_path: Path, redis_server: RedisServer) -> None:
    append(tmp_path, make_events(50))
    archive(tmp_path)
    busy = open_consumer(EventLogSettings(log_dir=tmp_path / "log"), EVENTS, "materializer")
    try:
        while len(busy.assignment) < EVENTS.partitions:
            busy.poll(1, 0.1)
        done = backfill(
            tmp_path,
            redis_server,
            *("--offline", str(tmp_path / "offline"), "--seek-group", "materializer", "--seek-timeout", "1s"),
        )
    finally:
        busy.close()
    assert done.exit_code == 1
    assert "held by other consumers of the group materializer; stop the materializers" in done.output


def test_a_file_of_events_alone_lets_the_stream_fold_every_record(
    store: OnlineStore, plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    events = make_events(150)
    pq.write_table(event_table(events[:100]), tmp_path / "history.parquet")
    done = backfill(tmp_path, redis_server, "--events", str(tmp_path / "history.parquet"))
    assert done.exit_code == 0, done.output
    append(tmp_path, events[100:])
    assert materialize(tmp_path, redis_server)["folded"] == 50
    assert_store_holds(store, plan, batch_states(plan, events))


def test_a_file_is_refused_where_the_stream_has_folded(
    plan: Plan, tmp_path: Path, redis_server: RedisServer
) -> None:
    events = make_events(100)
    pq.write_table(event_table(events), tmp_path / "history.parquet")
    append(tmp_path, events)
    materialize(tmp_path, redis_server)
    done = backfill(tmp_path, redis_server, "--events", str(tmp_path / "history.parquet"))
    assert done.exit_code == 1
    assert "12 rows of user_state hold events that this backfill would lose" in done.output
    assert "of which none is included" in done.output


def test_the_offline_store_may_come_from_the_environment(tmp_path: Path, redis_server: RedisServer) -> None:
    append(tmp_path, make_events(50))
    archive(tmp_path)
    address = ["--redis-host", redis_server.host, "--redis-port", str(redis_server.port)]
    env = {**os.environ, "REPRISE_PROGRESS": "off", "REPRISE_OFFLINE_STORE": str(tmp_path / "offline")}
    done = CliRunner(env=env).invoke(command, [*address, "--plan", str(PLAN_FILE)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("50 events: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --events, --offline, or REPRISE_OFFLINE_STORE"),
        (("--events", str(PLAN_FILE), "--seek-group", "materializer"), "--seek-group needs --offline"),
        (("--offline", "nonsense://x"), "nonsense"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, redis_server: RedisServer, options: tuple[str, ...], message: str
) -> None:
    done = backfill(tmp_path, redis_server, *options)
    assert done.exit_code != 0
    assert message in done.output
