"""A user is forgotten everywhere, and stream, archive and backfill agree afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.backfill.state_writer import BackfillReport, backfill
from reprise.events import Event
from reprise.features.plan import Plan
from reprise.forget.main import command
from reprise.log import DEAD_LETTERS, EVENTS, PREDICTIONS, Record
from reprise.log.embedded.topic_database import TopicDatabase
from reprise.store.online_store import OnlineStore
from support.embedded_shop import EmbeddedShop
from support.histories import PLAN_FILE, assert_store_holds, batch_states, make_events
from support.redis import RedisServer

pytestmark = pytest.mark.redis

PLAN = Plan.load(PLAN_FILE)
USER = "secret-person@example.com"


@pytest.fixture
def shop(tmp_path: Path, redis_server: RedisServer) -> EmbeddedShop:
    return EmbeddedShop(tmp_path, redis_server)


@pytest.fixture
def online(redis_server: RedisServer) -> Iterator[OnlineStore]:
    with OnlineStore.connect(redis_server.settings()) as connected:
        yield connected


def run(shop: EmbeddedShop, *arguments: str, timeout: str = "1m") -> Result:
    address = ["--redis-host", shop.redis.host, "--redis-port", str(shop.redis.port)]
    stores = ["--store", shop.offline, "--model-store", str(shop.folder / "models")]
    log = ["--log-dir", str(shop.log.log_dir), "--timeout", timeout]
    runner = CliRunner(env={"FORGET_IN_FLIGHT": "0s"})
    return runner.invoke(command, [*address, *stores, *log, *arguments])


def history(count: int, seed: int) -> list[Event]:
    """Events of which a twelfth is the user's; their ids name the user, too."""
    return [
        replace(e, user_id=USER, event_id=f"{USER}-{e.event_id}") if e.user_id == "u3" else e
        for e in make_events(count, seed=seed)
    ]


def forgotten(events: Sequence[Event]) -> list[Event]:
    """The events with another user for each product in the user's place."""
    return [replace(e, user_id=f"erased-{e.product_id}") if e.user_id == USER else e for e in events]


def assert_agrees(online: OnlineStore, before: Sequence[Event], after: Sequence[Event]) -> None:
    """Check every row: those of products with all events, and of the user with the later ones alone."""
    states = batch_states(PLAN, [*forgotten(before), *after])
    kept = {
        name: {ids: row for ids, row in rows.items() if not any(each.startswith("erased-") for each in ids)}
        for name, rows in states.items()
    }
    assert assert_store_holds(online, PLAN, kept) > 500


def rows_of_user(shop: EmbeddedShop) -> list[bytes]:
    with shop.redis.client() as client:
        return [key for key in client.scan_iter() if USER.encode() in key]


def archived_text(shop: EmbeddedShop) -> str:
    return "".join(str(pq.read_table(path).to_pylist()) for path in Path(shop.offline).rglob("*.parquet"))


def records(shop: EmbeddedShop) -> list[Record]:
    with closing(TopicDatabase(shop.log.log_dir, EVENTS)) as database:
        return [record for p in range(EVENTS.partitions) for record in database.read(p, 0, 10_000)]


def restore(shop: EmbeddedShop, records: Sequence[Record]) -> None:
    """Let the log have records again that were erased from it, as Kafka still does."""
    with closing(TopicDatabase(shop.log.log_dir, EVENTS)) as database, database.transaction() as connection:
        for record in records:
            connection.execute(
                f"UPDATE records_{record.partition} SET key = ?, value = ? WHERE offset = ?",
                (record.key, record.value, record.offset),
            )


def forget(shop: EmbeddedShop) -> Result:
    """Forget the user in a run for each part of the platform that reads the erasure."""
    for _ in range(2):  # the second has another record appended
        first = run(shop, USER, timeout="0s")
        assert first.exit_code == 1
        assert "materializer" in first.output
    shop.fold()
    second = run(shop, timeout="2s")  # it joins its consumer group before
    assert second.exit_code == 1
    assert "archiver" in second.output
    shop.archive()
    done = run(shop)
    assert done.exit_code == 0, done.output
    return done


def test_stream_and_backfill_agree_on_every_row_after_a_user_was_forgotten(
    shop: EmbeddedShop, online: OnlineStore
) -> None:
    before, after = history(240, seed=1), history(120, seed=2)
    shop.append(before[:180])
    shop.archive()
    shop.fold()
    shop.append(before[180:])
    done = forget(shop)
    count = sum(event.user_id == USER for event in before[:180])
    assert f"erased {count} of {EVENTS.name}" in done.output
    assert rows_of_user(shop) == []
    assert USER not in archived_text(shop)
    assert_agrees(online, before, [])

    shop.append(after)
    shop.fold()
    assert_agrees(online, before, after)
    shop.archive()
    shop.redis.flush()
    assert shop.backfill("--offline", shop.offline).exit_code == 0
    assert_agrees(online, before, after)


def test_log_that_is_read_again_brings_nobody_back(shop: EmbeddedShop, online: OnlineStore) -> None:
    before, after = history(120, seed=3), history(60, seed=4)
    shop.append(before)
    shop.archive()
    shop.fold()
    run(shop, USER, timeout="0s")
    raw = records(shop)
    shop.fold()
    shop.archive()
    assert run(shop).exit_code == 0
    shop.append(after)
    shop.fold()
    restore(shop, raw)
    shop.seek_to_the_beginning()
    shop.fold()
    assert_agrees(online, before, after)


def test_rows_that_are_written_late_by_a_consumer_without_its_partition_are_removed(
    shop: EmbeddedShop, online: OnlineStore
) -> None:
    before, after = history(240, seed=7), history(60, seed=8)
    shop.append(before)
    shop.fold()
    with shop.redis.client() as client:
        late = {key: client.dump(key) for key in rows_of_user(shop)}
        run(shop, USER, timeout="0s")
        shop.append(after)
        shop.fold()
        returned = rows_of_user(shop)
        for key in late.keys() - set(returned):
            client.restore(key, 0, late[key])
    shop.archive()
    assert len(returned) < len(rows_of_user(shop))
    assert run(shop).exit_code == 0
    assert set(rows_of_user(shop)) == set(returned) != set()
    assert_agrees(online, before, after)


@pytest.mark.parametrize("read_before", [True, False])
def test_backfill_that_overlaps_an_erasure_fails(
    shop: EmbeddedShop, monkeypatch: pytest.MonkeyPatch, read_before: bool
) -> None:
    shop.append(history(120, seed=6))
    shop.archive()
    shop.fold()
    run(shop, USER, timeout="0s")
    if read_before:
        shop.fold()
    else:

        def raced(*arguments: Any, **options: Any) -> BackfillReport:
            shop.fold()
            return backfill(*arguments, **options)

        monkeypatch.setattr("reprise.backfill.runner.backfill", raced)
    done = shop.backfill("--offline", shop.offline)
    assert done.exit_code == 1
    assert "run reprise forget" in done.output
    monkeypatch.undo()
    shop.archive()
    assert run(shop).exit_code == 0
    done = shop.backfill("--offline", shop.offline, "--replace")
    assert done.exit_code == 0, done.output
    assert rows_of_user(shop) == []


def test_predictions_letters_and_log_lose_the_user(shop: EmbeddedShop) -> None:
    event = make_events(1)[0]
    prediction = {"user_id": USER, "product_id": "p", "features": {}}
    other = {**prediction, "user_id": "u"}
    shop.append([replace(event, user_id=USER), replace(event, event_id="other")])
    broken = orjson.dumps({"user_id": USER, "amount": "-"})
    shop.append_records(EVENTS.name, [(USER, broken), ("u", b"broken")])
    shop.append_records(
        PREDICTIONS.name, [(each["user_id"], orjson.dumps(each)) for each in (prediction, other)]
    )
    shop.append_records(DEAD_LETTERS.name, [(USER, orjson.dumps({"value": broken.decode()}))])
    shop.archive()
    assert "nobody to forget" in run(shop, "--dry-run", "--inactive", "1d").output
    shown = run(shop, "--dry-run", "--inactive", "1us").output
    assert f"user 1: would erase 2 of {EVENTS.name}" in shown
    shown = run(shop, "--dry-run", USER).output
    assert f"would erase 2 of {EVENTS.name}, 1 of {PREDICTIONS.name}" in shown
    assert USER in archived_text(shop)
    assert run(shop, USER, timeout="0s").exit_code == 1
    shop.fold()
    shop.archive()
    assert run(shop).exit_code == 0
    assert all(USER.encode() not in path.read_bytes() for path in shop.folder.rglob("*") if path.is_file())
    text = archived_text(shop)
    assert USER not in text
    assert "b'broken'" in text
    assert '"user_id":"u"' in text


def test_inactive_users_are_erased_once_the_archive_knows_who_came_back(shop: EmbeddedShop) -> None:
    shop.append(history(60, seed=5))
    waiting = run(shop, "--inactive", "1us", timeout="2s")
    assert waiting.exit_code == 1
    assert "archiver" in waiting.output
    shop.archive()
    shop.fold()
    assert "nobody to forget" in run(shop, "--inactive", "1d").output
    begun = run(shop, "--inactive", "1us", timeout="2s")  # it joins its consumer group before
    assert begun.exit_code == 1
    assert "materializer" in begun.output
    shop.fold()
    shop.archive()
    assert run(shop).exit_code == 0
    assert USER not in archived_text(shop)
    assert rows_of_user(shop) == []
    assert "nobody to forget" in run(shop, "--inactive", "1us").output
