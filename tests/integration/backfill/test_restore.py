"""A store that was lost, restored, and held against what it was: byte by byte, and where bytes may differ, why.

The services' own code streams events through an embedded log into Redis and into the archive. Everything in Redis is
kept as it is there, raw field by raw field. Then Redis is emptied, and restored in each way that there is.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from reprise.archive import OfflineStore
from reprise.archiver.runner import archive_until_idle
from reprise.archiver.settings import ArchiverSettings
from reprise.backfill.main import command as backfill
from reprise.events import Event, encode_event
from reprise.features.plan import Plan
from reprise.log import EVENTS, EventLogSettings, open_consumer, open_producer
from reprise.materializer.runner import fold_until_idle
from reprise.materializer.settings import MaterializerSettings
from reprise.store.feast.layout import field_name, timestamp_field_name
from reprise.store.feast.protobuf import decode_bytes, decode_double
from reprise.store.feast.view import WATERMARKS, StateView
from reprise.store.watermarks import Watermarks
from support.histories import PLAN_FILE, make_events
from support.redis import RedisServer

pytestmark = pytest.mark.redis

Raw = Mapping[bytes, Mapping[bytes, bytes]]
"""The fields of every hash, by key."""

ROUNDS, A_ROUND, AGAIN = 6, 80, 3
PLAN = Plan.load(PLAN_FILE)
VIEWS = {entity.name: entity.view for entity in PLAN.entities}


@dataclass(frozen=True)
class Store:
    """Everything that is in Redis.

    Attributes:
        rows: The raw fields of every row of the project.
        seen: Where each remembered event was first seen.
    """

    rows: Raw
    seen: Mapping[bytes, bytes]


@dataclass
class Lived:
    """A shop that ran for a while, and what it left."""

    folder: Path
    redis: RedisServer
    events: list[Event]
    copy: dict[bytes, bytes] = field(default_factory=dict)

    def append(self, events: list[Event]) -> None:
        producer = open_producer(EventLogSettings(log_dir=self.folder / "log"))
        for event in events:
            producer.append(EVENTS.name, event.user_id.encode(), encode_event(event))
        producer.close(10)

    def fold(self) -> dict[str, int]:
        settings = MaterializerSettings(
            log_dir=self.folder / "log",
            redis_host=self.redis.host,
            redis_port=self.redis.port,
            plan=PLAN_FILE,
            batch_records=50,
        )
        return fold_until_idle(settings, 0.4)

    def archive(self) -> None:
        archive_until_idle(
            ArchiverSettings(log_dir=self.folder / "log", offline_store=str(self.folder / "offline")), 0.2
        )

    def backfill(self, *options: str) -> None:
        arguments = ["--redis-host", self.redis.host, "--redis-port", str(self.redis.port)]
        arguments += ["--plan", str(PLAN_FILE), "--log-dir", str(self.folder / "log")]
        arguments += ["--offline", str(self.folder / "offline"), *options]
        done = CliRunner(env={"REPRISE_PROGRESS": "off"}).invoke(backfill, arguments)
        assert done.exit_code == 0, done.output

    def seek_to_the_beginning(self) -> None:
        """What `kafka-consumer-groups --reset-offsets --to-earliest` does."""
        settings = EventLogSettings(log_dir=self.folder / "log")
        consumer = open_consumer(settings, EVENTS, "materializer")
        while len(consumer.assignment) < EVENTS.partitions:
            consumer.poll(1, 0.1)
        consumer.commit(dict.fromkeys(range(EVENTS.partitions), 0))
        consumer.close()

    def dump(self) -> Store:
        rows, seen = {}, {}
        with self.redis.client() as client:
            for key in client.scan_iter():
                if client.type(key) == b"hash":
                    rows[key] = client.hgetall(key)
                else:
                    seen[key] = client.get(key)
        return Store(rows, seen)


@pytest.fixture
def lived(tmp_path: Path, redis_server: RedisServer) -> tuple[Lived, Store]:
    """Events came and were folded a few at a time; archive and copy have all but the last of them."""
    shop = Lived(tmp_path, redis_server, make_events(ROUNDS * A_ROUND, users=40, products=20, seed=5))
    for number in range(ROUNDS):
        came = shop.events[number * A_ROUND : (number + 1) * A_ROUND]
        shop.append([*came, *came[:AGAIN]])  # what a shop sends twice counts once
        shop.fold()
        if number == ROUNDS - 2:
            shop.archive()
            with redis_server.client() as client:
                shop.copy = {key: client.dump(key) for key in client.scan_iter()}
    return shop, shop.dump()


def test_a_replay_of_the_log_restores_the_bytes(lived: tuple[Lived, Store]) -> None:
    shop, before = lived
    shop.redis.flush()
    shop.seek_to_the_beginning()
    assert shop.fold() == {"folded": ROUNDS * A_ROUND, "duplicate": ROUNDS * AGAIN}
    after = shop.dump()
    assert after.seen == before.seen
    assert_same_bytes(before, after)
    shop.redis.flush()
    shop.seek_to_the_beginning()
    shop.fold()
    assert shop.dump() == after


def test_a_copy_of_redis_goes_on_from_where_it_was_taken(lived: tuple[Lived, Store]) -> None:
    shop, before = lived
    with shop.redis.client() as client:
        client.flushall()
        for key, content in shop.copy.items():
            client.restore(key, 0, content)
    copied = shop.dump()
    assert len(copied.rows) < len(before.rows)
    # Offsets from before the copy do no harm: rows skip what they hold.
    shop.seek_to_the_beginning()
    folded = shop.fold()
    assert (folded["folded"], folded["replayed"]) == (A_ROUND, (ROUNDS - 1) * A_ROUND)
    after = shop.dump()
    assert after.seen == before.seen
    assert_same_bytes(before, after)


def test_a_backfill_restores_all_but_watermarks_and_the_last_bits_of_sums(lived: tuple[Lived, Store]) -> None:
    shop, before = lived
    shop.redis.flush()
    shop.backfill("--seek-group", "materializer")
    untouched = shop.dump().rows
    assert shop.fold() == {"folded": A_ROUND, "duplicate": AGAIN}
    after = shop.dump()
    assert after.seen == before.seen
    for entity, names in differing(before, after).items():
        assert names - inexact(entity) == {WATERMARKS}
    assert_close(before, after)
    [coverage] = OfflineStore(str(shop.folder / "offline")).coverage(EVENTS.name)
    archived = {partition: parts[-1].segment.last for partition, parts in coverage.parts.items()}
    for key, row in after.rows.items():
        had, has = watermarks(before.rows[key], coverage.topic_id), watermarks(row, coverage.topic_id)
        if untouched.get(key) == row:
            assert has == archived
        # Whatever was folded before is covered now, and nothing else but what the archive holds.
        assert (
            had.items()
            <= {partition: min(has[partition], offset) for partition, offset in had.items()}.items()
        )
        assert all(offset in (archived[partition], had.get(partition)) for partition, offset in has.items())


def test_a_second_backfill_writes_the_same_watermarks_and_fields(lived: tuple[Lived, Store]) -> None:
    shop, _ = lived
    stores = []
    for _ in range(2):
        shop.redis.flush()
        shop.backfill()
        stores.append(shop.dump())
    for entity, names in differing(*stores).items():
        assert names <= inexact(entity)
    assert_close(*stores)


def assert_same_bytes(before: Store, after: Store) -> None:
    """Assert that all bytes are the same, but for what a product's partitions add in another order.

    A user, and so a pair, has one partition, whose order is the log's. Which of two partitions is read first is
    nobody's order, so the sums of a product that users of both have bought may differ in their last bits, as
    floating-point addition is not associative.
    """
    found = differing(before, after)
    assert (found["user"], found["pair"]) == (set(), set())
    assert found["product"] <= inexact("product")
    assert_close(before, after)


def assert_close(before: Store, after: Store) -> None:
    compared = 0
    for key, row in before.rows.items():
        entity = entity_of(row)
        names = field_names(VIEWS[entity])
        for at in row.keys() & {field_name(VIEWS[entity].name, name) for name in inexact(entity)}:
            was, now = decode_double(row[at]), decode_double(after.rows[key][at])
            assert (was is None) == (now is None)
            if was is None or now is None:
                continue
            scale = max(abs(was), 1.0) * (1e3 if names[at].endswith("_m2") else 1.0)
            assert abs(now - was) <= 1e-9 * scale, (key, names[at])
            compared += 1
    assert compared > 500


def differing(before: Store, after: Store) -> dict[str, set[str]]:
    """Return, by entity, the names of the fields of which some row has other bytes; all have the same fields."""
    assert after.rows.keys() == before.rows.keys()
    found: dict[str, set[str]] = {name: set() for name in VIEWS}
    for key, row in before.rows.items():
        entity = entity_of(row)
        assert after.rows[key].keys() == row.keys()
        names = field_names(VIEWS[entity])
        found[entity] |= {names[at] for at in row if after.rows[key][at] != row[at]}
    return found


def inexact(entity: str) -> set[str]:
    """The sums of numbers that are not whole: of amounts, of their squares, of decays, of days."""
    return {
        each.name
        for each in VIEWS[entity].fields
        if each.kind == "double" and re.search("amount|decayed|days_between", each.name)
    }


def watermarks(row: Mapping[bytes, bytes], topic: bytes) -> Mapping[int, int]:
    at = field_name(VIEWS[entity_of(row)].name, WATERMARKS)
    return Watermarks.parse(decode_bytes(row[at]), topic).offsets


def entity_of(row: Mapping[bytes, bytes]) -> str:
    [name] = [name for name, view in VIEWS.items() if timestamp_field_name(view.name) in row]
    return name


def field_names(view: StateView) -> dict[bytes, str]:
    names = {field_name(view.name, name): name for name in (*(f.name for f in view.fields), WATERMARKS)}
    return names | {timestamp_field_name(view.name): "_ts"}
