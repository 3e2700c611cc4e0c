"""Whom the ``forget`` command erases, and what it says remains."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from reprise.archive import OfflineStore
from reprise.events import CANARY_PREFIX, encode_event
from reprise.events.event import ERASED_PREFIX
from reprise.events.user_ids import user_id_hash
from reprise.forget.main import command
from reprise.forget.run import describe_remains, inactive_users
from reprise.forget.settings import ForgetSettings
from reprise.log import Record
from support.histories import make_events
from support.offline import put

DAY_MS = 86_400_000


def archived(folder: Path, *events: tuple[str, int, int]) -> ForgetSettings:
    """Archive an event of each user, of so many days ago and appended so many days ago."""
    now_ms, template = time.time_ns() // 1_000_000, make_events(1)[0]
    ordered = sorted(enumerate(events), key=lambda each: -each[1][2])
    records = []
    for offset, (number, (user, happened, appended)) in enumerate(ordered):
        timestamp_us = (now_ms - happened * DAY_MS) * 1_000
        event = replace(template, event_id=f"e{number}", user_id=user, timestamp_us=timestamp_us)
        records.append(Record(0, offset, now_ms - appended * DAY_MS, b"", encode_event(event)))
    for record in records:
        put(OfflineStore(str(folder / "offline")), [record])
    return ForgetSettings.load(offline_store=str(folder / "offline"), model_store=str(folder / "models"))


def preview(settings: ForgetSettings, *arguments: str, stdin: str | None = None, **variables: str) -> str:
    stores = ["--store", settings.offline_store, "--model-store", settings.model_store]
    done = CliRunner(env=variables).invoke(command, [*stores, "--dry-run", *arguments], input=stdin)
    assert done.exit_code == 0, done.output
    return done.output


def test_inactive_are_those_whose_newest_event_arrived_before_the_age(tmp_path: Path) -> None:
    settings = archived(
        tmp_path,
        ("long gone", 900, 900),
        ("came back", 800, 800),
        ("came back", 10, 10),
        ("sent late", 740, 5),
        ("almost", 729, 729),
        (f"{ERASED_PREFIX}x", 900, 900),
        (f"{CANARY_PREFIX}x", 900, 900),
    )
    assert inactive_users(settings, timedelta(days=730)) == ["long gone"]
    assert inactive_users(settings, timedelta(days=4)) == ["almost", "came back", "long gone", "sent late"]
    shown = preview(settings, "--inactive", "730d", "almost")
    assert [line.partition(":")[0] for line in shown.splitlines()[1:]] == ["user 1", "user 2"]


def test_ids_are_hashed_with_the_key_file_as_the_producer_hashed_them(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    hashed = user_id_hash(key)
    assert hashed is not None
    settings = archived(tmp_path, (hashed("ada"), 1, 1), (hashed("grace"), 1, 1), (hashed("grace"), 1, 1))
    file = tmp_path / "users.txt"
    file.write_bytes(b"ada\r\n\n grace\n")
    with_key = {"REPRISE_USER_ID_KEY_FILE": str(key)}
    assert "user 1: would erase 1 of ecommerce-events" in preview(settings, "ada", **with_key)
    assert "user 1: would erase 0 of ecommerce-events" in preview(settings, "ada")
    # a space belongs to the id
    shown = preview(settings, "--file", str(file), **with_key).splitlines()[1:]
    assert [line.partition(" of ")[0] for line in shown] == ["user 1: would erase 1", "user 2: would erase 0"]
    piped = preview(settings, "--file", "-", "ada", stdin="grace\n", **with_key).splitlines()[1:]
    assert [line.partition(" of ")[0] for line in piped] == ["user 1: would erase 1", "user 2: would erase 2"]
    # those who are found in the archive are hashed already
    assert "user 1: would erase 1" in preview(settings, "--inactive", "1h", **with_key)


def test_a_key_file_that_is_too_short_erases_nobody(tmp_path: Path) -> None:
    settings = archived(tmp_path, ("ada", 1, 1))
    short = tmp_path / "key"
    short.write_bytes(b"k" * 31)
    stores = ["--store", settings.offline_store, "--model-store", settings.model_store]
    done = CliRunner(env={"REPRISE_USER_ID_KEY_FILE": str(short)}).invoke(command, [*stores, "ada"])
    assert done.exit_code != 0
    assert not OfflineStore(settings.offline_store).erasures()


@pytest.mark.parametrize(("servers", "topics"), [("kafka:9092", 3), (None, 0)])
def test_what_kafka_keeps_is_told_with_the_day_on_which_it_is_gone(servers: str | None, topics: int) -> None:
    settings = ForgetSettings.load(kafka_servers=servers, kafka_topic_prefix="shop.")
    lines = describe_remains(settings, datetime(2026, 1, 1, tzinfo=UTC))
    assert [line.partition(" unless")[0] for line in lines] == [
        "shop.ecommerce-events: its records until 2026-01-15,",
        "shop.ecommerce-predictions: its records until 2026-01-15,",
        "shop.ecommerce-events-dlq: its records until 2026-04-01,",
    ][:topics]
