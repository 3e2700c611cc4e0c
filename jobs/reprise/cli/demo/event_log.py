"""The demo's part of the event log: in a shared Kafka, only the records written from now on."""

import time
from collections.abc import Iterable, Iterator

from reprise.cli.demo.exceptions import NotReadyError
from reprise.events import Event, InvalidEventError, decode_event
from reprise.log import EVENTS, EventLogSettings, LogConsumer, open_consumer

_MAX_RECORDS = 10_000
_TIMEOUT_SECONDS = 60.0


def commit_end_offsets(log: EventLogSettings, groups: Iterable[str]) -> None:
    """Commit the end offsets for these groups, so that they read only new records.

    Raises:
        NotReadyError: No partitions are assigned in time.
        EventLogError: The log cannot be used.
    """
    for group in groups:
        consumer = open_consumer(log, EVENTS, group)
        try:
            _await_assignment(consumer, time.monotonic() + _TIMEOUT_SECONDS)
            consumer.commit(consumer.end_offsets())
        finally:
            consumer.close()


def streamed_events(log: EventLogSettings, group: str) -> list[Event]:
    """Return the distinct valid events that the group has not read yet.

    Raises:
        NotReadyError: They do not arrive in time.
        EventLogError: The log cannot be used.
    """
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    events: dict[str, Event] = {}
    consumer = open_consumer(log, EVENTS, group)
    try:
        while (
            len(consumer.assignment) < consumer.partitions or consumer.positions() != consumer.end_offsets()
        ):
            if time.monotonic() > deadline:
                raise NotReadyError(f"the event log did not return its events within {_TIMEOUT_SECONDS:g} s")
            for records in consumer.poll(_MAX_RECORDS, 0.2).values():
                for event in _decoded(record.value for record in records):
                    events.setdefault(event.event_id, event)
    finally:
        consumer.close()
    return list(events.values())


def _await_assignment(consumer: LogConsumer, deadline: float) -> None:
    while len(consumer.assignment) < consumer.partitions:
        if time.monotonic() > deadline:
            raise NotReadyError(f"the event log assigned no partitions within {_TIMEOUT_SECONDS:g} s")
        consumer.poll(1, 0.2)


def _decoded(values: Iterable[bytes]) -> Iterator[Event]:
    for value in values:
        try:
            yield decode_event(value)
        except InvalidEventError:
            continue
