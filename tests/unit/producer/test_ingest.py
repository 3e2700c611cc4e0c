import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reprise.events import decode_event
from reprise.log import EVENTS, LogUnavailableError
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.services.ingest import EventIngest
from support.fake_log import FakeLogProducer


def event(number: int = 0, **changed: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "user_id": f"u{number}",
        "product_id": "p",
        "event_type": "purchase",
        "amount": 2.5,
        "timestamp": "2026-01-01T00:00:00Z",
        **changed,
    }


@pytest.fixture
def ingest(log: FakeLogProducer, metrics: ProducerMetrics) -> EventIngest:
    return EventIngest(log, metrics, ack_timeout=5.0, max_skew=300.0, kept_fields={"page", "a"})


async def test_events_go_to_the_events_topic_in_order_keyed_by_user(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    results = await ingest.accept([event(0), event(1)])
    assert [result.outcome for result in results] == ["accepted", "accepted"]
    assert [(topic, key) for topic, key, _ in log.appended] == [(EVENTS.name, b"u0"), (EVENTS.name, b"u1")]
    assert decode_event(log.appended[0][2]).amount == 2.5


async def test_broken_event_is_rejected_alone_with_its_field(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    soon, year = (
        (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat() for seconds in (290, 365 * 86_400)
    )
    items = [event(0, amount=-1), event(1, timestamp=soon), "text", None, event(4, timestamp=year)]
    results = await ingest.accept([*items, event(5, amount=1e308)])
    assert [result.outcome for result in results] == ["rejected", "accepted", *["rejected"] * 4]
    assert [result.field for result in results] == ["amount", None, "event", "event", "timestamp", "amount"]
    assert [result.event_id for result in results] == ["e0", "e1", None, None, "e4", "e5"]
    assert len(log.appended) == 1


async def test_only_named_other_fields_reach_the_log(ingest: EventIngest, log: FakeLogProducer) -> None:
    others = {"email": "someone@example.com", "page": 3, "metadata": {"email": "someone@example.com", "a": 1}}
    await ingest.accept([event(**others)])
    assert b"example.com" not in log.appended[0][2]
    assert decode_event(log.appended[0][2], {"page", "a"}).metadata == {"page": 3, "a": 1}


async def test_event_that_a_consumer_could_not_read_is_rejected(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"a": deep}
    results = await ingest.accept([event(metadata=deep), event(metadata={"a": "x" * 70_000})])
    assert [result.outcome for result in results] == ["rejected", "rejected"]
    assert log.appended == []


async def test_nothing_is_accepted_before_the_log_acknowledged_it(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    log.hold = True
    task = asyncio.create_task(ingest.accept([event(0), event(1)]))
    await asyncio.sleep(0.05)
    assert not task.done()
    threading.Thread(target=log.acknowledge).start()
    assert [result.outcome for result in await task] == ["accepted", "accepted"]


async def test_event_that_the_log_did_not_take_is_unavailable_alone(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    log.failure = lambda number: LogUnavailableError("disk full") if number == 1 else None
    results = await ingest.accept([event(0), event(1), event(2)])
    assert [result.outcome for result in results] == ["accepted", "unavailable", "accepted"]
    assert results[1].reason == "disk full"


async def test_closed_log_is_unavailable(ingest: EventIngest, log: FakeLogProducer) -> None:
    log.close(0)
    assert [result.outcome for result in await ingest.accept([event()])] == ["unavailable"]


async def test_full_buffer_is_overload_for_what_does_not_fit(
    ingest: EventIngest, log: FakeLogProducer
) -> None:
    log.hold, log.capacity = True, 2
    task = asyncio.create_task(ingest.accept([event(0), event(1), event(2)]))
    await asyncio.sleep(0.01)
    log.acknowledge()
    assert [result.outcome for result in await task] == ["accepted", "accepted", "overloaded"]


async def test_outcomes_are_counted(
    ingest: EventIngest, log: FakeLogProducer, metrics: ProducerMetrics
) -> None:
    log.failure = lambda number: LogUnavailableError("away") if number == 1 else None
    await ingest.accept([event(0), event(1), event(2), {}])
    counted = {
        outcome: metrics.registry.get_sample_value(
            "reprise_producer_events_total", {"source": "http", "outcome": outcome}
        )
        for outcome in ("accepted", "rejected", "failed")
    }
    assert counted == {"accepted": 2, "rejected": 1, "failed": 1}
    assert metrics.registry.get_sample_value("reprise_producer_acknowledgement_seconds_count") == 1


async def test_errors_that_are_not_the_logs_are_not_hidden(ingest: EventIngest, log: FakeLogProducer) -> None:
    log.failure = lambda _: RuntimeError("a bug")  # type: ignore[assignment, return-value]
    with pytest.raises(RuntimeError, match="a bug"):
        await ingest.accept([event()])
