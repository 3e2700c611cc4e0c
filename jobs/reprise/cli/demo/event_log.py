"""The demo's part of the event log: in a shared Kafka, only the records written from now on."""

from collections.abc import Iterable
from contextlib import closing, suppress
from functools import partial

from reprise.cli.demo.waiting import wait_until
from reprise.events import Event, InvalidEventError, decode_event
from reprise.log import EVENTS, EventLogSettings, LogConsumer, open_consumer

_MAX_RECORDS = 10_000
_TIMEOUT_SECONDS = 60.0


def commit_end_offsets(log: EventLogSettings, groups: Iterable[str]) -> None:
    """Commit the end offsets for these groups, so that they read only new records."""
    for group in groups:
        with closing(open_consumer(log, EVENTS, group)) as consumer:
            assigned = partial(_poll, consumer, 1, {})
            wait_until(assigned, _TIMEOUT_SECONDS, "the event log assigned no partitions", every=0)
            consumer.commit(consumer.end_offsets())


def streamed_events(log: EventLogSettings, group: str) -> list[Event]:
    """Return the distinct valid events that the group has not read yet."""
    events: dict[str, Event] = {}
    with closing(open_consumer(log, EVENTS, group)) as consumer:

        def all_read() -> bool:
            return _poll(consumer, _MAX_RECORDS, events) and consumer.positions() == consumer.end_offsets()

        wait_until(all_read, _TIMEOUT_SECONDS, "the event log did not return its events", every=0)
    return list(events.values())


def _poll(consumer: LogConsumer, max_records: int, events: dict[str, Event]) -> bool:
    for records in consumer.poll(max_records, 0.2).values():
        for record in records:
            with suppress(InvalidEventError):
                event = decode_event(record.value)
                events.setdefault(event.event_id, event)
    return len(consumer.assignment) == consumer.partitions
