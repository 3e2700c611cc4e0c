"""Random records of the events topic: each is an event within the contract, or a dead letter that can be read.

A failure names the seed, which makes the same record again. The soak reads 10,000 records.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry

from reprise.archive.records import archive_table, to_parquet
from reprise.dlq.dead_letters import DeadLetterError, corrected, read_letters
from reprise.events import InvalidEventError, decode_event, encode_event
from reprise.log import EVENTS, PREDICTIONS, EventLogSettings, Record, open_producer
from reprise.materializer.batch_fold import InvalidRecord
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.worker import send_dead_letters
from support.fake_log import FakeLogProducer
from support.fuzzed_records import BATCH, ERA_US, NAMES, RECORDS, SKEW, WINDOW, problem_of, random_record

FIELDS = {*NAMES, "event"}


@pytest.fixture(autouse=True)
def deep_json() -> Iterator[None]:
    """Let ``json`` read as many levels as orjson does."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    yield
    sys.setrecursionlimit(limit)


def read_by_others(payload: bytes) -> tuple[str, str, str, float | None, int]:
    """Return user, product, type, amount and instant as the standard library and pandas read them."""
    fields = json.loads(payload)
    # pandas drops a fraction after a comma without a word
    text, amount = fields["timestamp"].replace(",", "."), fields.get("amount")
    instant = pd.to_datetime(text, format="%G-W%V-%uT%H:%M:%S%z") if "-W" in text else pd.Timestamp(text)
    return (
        *(fields[name] for name in ("user_id", "product_id", "event_type")),
        None if amount is None else float(amount),
        instant.value // 1_000,
    )


def check_record(record: Record) -> None:
    """Check that a record is an event within the contract, or that its problem is named."""
    error = problem_of(record)
    if error is not None:
        assert error.field in FIELDS
        assert str(error).startswith(f"{error.field}: expected ")
        assert len(str(error)) < 1000
        return
    event = decode_event(record.value)
    assert decode_event(encode_event(event)) == event
    read = event.user_id, event.product_id, event.event_type, event.amount, event.timestamp_us
    assert read == read_by_others(record.value)
    assert ERA_US[0] <= event.timestamp_us <= time.time_ns() // 1_000 + SKEW * 1e6
    assert event.amount is None or 0 <= event.amount <= 1e12
    assert all(0 < len(value) <= 256 for value in (event.event_id, event.user_id, event.product_id))


def check_archived(records: list[Record], errors: list[InvalidEventError | None]) -> None:
    table = archive_table(EVENTS.name, bytes(16), records, WINDOW)
    assert [problem is None for problem in table["problem"].to_pylist()] == [
        error is None for error in errors
    ]
    valid = table.filter(pa.compute.is_null(table["problem"]))
    kept = [
        decode_event(record.value) for record, error in zip(records, errors, strict=True) if error is None
    ]
    assert valid["event_id"].to_pylist() == [event.event_id for event in kept]
    assert valid["amount"].to_pylist() == [event.amount for event in kept]
    assert valid["timestamp"].cast(pa.int64()).to_pylist() == [event.timestamp_us for event in kept]
    assert to_parquet(table)
    assert archive_table(PREDICTIONS.name, bytes(16), records).num_rows == len(records)


def check_letters(invalid: list[InvalidRecord], folder: Path) -> None:
    """Send the letters, and read them again as ``reprise dlq`` does."""
    fake, metrics = FakeLogProducer(), MaterializerMetrics(CollectorRegistry())
    send_dead_letters(fake, metrics, invalid)
    assert all(len(key) + len(value) < 1_000_000 for _, key, value in fake.appended)
    settings = EventLogSettings(log_dir=folder)
    producer = open_producer(settings)
    send_dead_letters(producer, metrics, invalid)
    producer.close(30)
    letters = {letter.source.offset: letter for letter in read_letters(settings, "fuzz", 30)}
    assert len(letters) == len(invalid)
    for each in invalid:
        letter = letters[each.record.offset]
        assert letter.source == (EVENTS.name, *each.record[:3])
        assert letter.reason == str(each.error)
        assert letter.value == each.record.value[: 128 * 1024]
        with suppress(DeadLetterError):
            decode_event(encode_event(corrected(letter, {})))


@pytest.mark.parametrize("first", range(0, RECORDS, BATCH))
def test_records_are_events_within_the_contract_or_dead_letters(tmp_path: Path, first: int) -> None:
    records = [random_record(seed) for seed in range(first, first + BATCH)]
    for record in records:
        try:
            check_record(record)
        except BaseException as error:
            error.add_note(f"seed {record.offset}")
            raise
    errors = [problem_of(record) for record in records]
    assert 30 < errors.count(None) < BATCH - 30
    check_archived(records, errors)
    invalid = [InvalidRecord(r, e) for r, e in zip(records, errors, strict=True) if e is not None]
    check_letters(invalid, tmp_path)
