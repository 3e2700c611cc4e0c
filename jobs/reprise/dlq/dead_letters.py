"""Dead letters: reading, correction and replay.

A replayed event keeps the ``event_id`` of its record, so that the materializer folds it once. A record without one gets
an id of its position. The replay is also written to the dead-letter topic, so that a letter is not replayed again once
the materializer has forgotten the id.
"""

import base64
import time
from collections.abc import Container, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import orjson

from reprise.events import Event, InvalidEventError, encode_event, event_from_fields, json_object
from reprise.events.erasure import ERASED_RECORD
from reprise.log import (
    DEAD_LETTERS,
    EVENTS,
    EventLogSettings,
    LogProducer,
    LogTimeoutError,
    Position,
    Record,
    acknowledged,
    open_consumer,
)
from reprise.runtime.exceptions import RepriseError

_MAX_RECORDS = 1000
_POLL_SECONDS = 0.2
_JSON_FIELDS = frozenset(("amount", "metadata", "schema_version"))
_FIELDS = _JSON_FIELDS | {"event_id", "user_id", "product_id", "event_type", "timestamp"}
_REPLAYED = "replayed"


class DeadLetterError(RepriseError):
    """A dead letter does not exist, or a correction does not make it a valid event."""


class Source(NamedTuple):
    """Where the record was read; with its timestamp, it is unique even if the topic is recreated."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


@dataclass(frozen=True)
class DeadLetter:
    """A record that was not folded, its reason, and its place among the dead letters."""

    place: Position
    reason: str
    source: Source
    key: bytes
    value: bytes
    # That of the record in bytes; of a larger one than fits in a letter, ``value`` is the beginning
    size: int
    replayed_as: Position | None = None

    @property
    def name(self) -> str:
        """How commands name the letter."""
        return f"{self.place.partition}:{self.place.offset}"


def read_letters(settings: EventLogSettings, group: str, timeout: float) -> list[DeadLetter]:
    """Return the dead letters up to now, in the order of their places; a record that has several appears once.

    Raises:
        LogTimeoutError: The log did not return them in time, or another consumer of the group holds them.
        EventLogError: The log is unavailable.
    """
    letters: dict[Source, DeadLetter] = {}
    replays: dict[Source, Position] = {}
    deadline = time.monotonic() + timeout
    ends: Mapping[int, int] | None = None
    with closing(open_consumer(settings, DEAD_LETTERS, group)) as consumer:
        while True:
            for record in chain.from_iterable(consumer.poll(_MAX_RECORDS, _POLL_SECONDS).values()):
                if record.value == ERASED_RECORD:
                    continue
                replay = _replay(record)
                if replay is not None:
                    replays[replay[0]] = replay[1]
                else:
                    letter = _letter(record)
                    letters.setdefault(letter.source, letter)
            if ends is None and len(consumer.assignment) == consumer.partitions:
                ends = consumer.end_offsets()
            if ends is not None:
                positions = consumer.positions()
                if all(positions.get(partition, 0) >= end for partition, end in ends.items()):
                    break
            if time.monotonic() > deadline:
                shared = f"is another consumer of the group {group} running?"
                raise LogTimeoutError(f"{DEAD_LETTERS.name}: not read within {timeout:g} s; {shared}")
    found = [replace(each, replayed_as=replays.get(each.source)) for each in letters.values()]
    return sorted(found, key=lambda each: each.place)


def corrected(
    letter: DeadLetter,
    changes: Mapping[str, str],
    replacement: bytes | None = None,
    kept_fields: Container[str] = (),
) -> Event:
    """Return the event of a letter as it would be replayed.

    Args:
        letter: The letter.
        changes: New values of fields, as text; ``amount``, ``metadata`` and ``schema_version`` are JSON.
        replacement: The JSON of the event, instead of the letter's own record.
        kept_fields: Names of the other fields that are kept as metadata.

    Raises:
        DeadLetterError: The result is no valid event, or a field is unknown.
    """
    try:
        fields = json_object(letter.value if replacement is None else replacement, "record")
        fields |= {name: _parsed(name, text) for name, text in changes.items()}
        if not isinstance(fields.get("event_id"), str) or not fields["event_id"]:
            source = letter.source
            fields["event_id"] = f"dlq-{source.partition}-{source.offset}-{source.timestamp_ms}"
        return event_from_fields(fields, kept_fields)
    except InvalidEventError as error:
        raise DeadLetterError(f"{letter.name}: {error}") from error


def replay(log: LogProducer, letter: DeadLetter, event: Event, timeout: float) -> Position:
    """Append a corrected event to the events, and note the replay among the dead letters; return its position.

    Raises:
        EventLogError: The log did not acknowledge both within ``timeout`` seconds; a retry is safe.
    """
    position = _append(log, EVENTS.name, event.user_id.encode(), encode_event(event), timeout)
    note = {_REPLAYED: letter.source._asdict(), "partition": position.partition, "offset": position.offset}
    _append(log, DEAD_LETTERS.name, letter.key, orjson.dumps(note), timeout)
    return position


def select(letters: Sequence[DeadLetter], names: Sequence[str], reason: str | None) -> list[DeadLetter]:
    """Return the named letters, or all of them, whose reason contains a text.

    Raises:
        DeadLetterError: There is no letter of a name.
    """
    by_name = {each.name: each for each in letters}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise DeadLetterError(f"no dead letter {', '.join(missing)}; list shows those that there are")
    chosen = [by_name[name] for name in dict.fromkeys(names)] if names else list(letters)
    return [each for each in chosen if reason is None or reason in each.reason]


def _append(log: LogProducer, topic: str, key: bytes, value: bytes, timeout: float) -> Position:
    return acknowledged(log.append(topic, key, value), topic, timeout)


def _parsed(name: str, text: str) -> Any:
    if name not in _FIELDS:
        raise InvalidEventError(name, text, f"one of the fields {', '.join(sorted(_FIELDS))}")
    if name not in _JSON_FIELDS:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidEventError(name, text, "JSON, such as a number or null") from None


def _letter(record: Record) -> DeadLetter:
    """Return the letter of a record; one that is of another format is a letter about itself."""
    place = Position(record.partition, record.offset)
    try:
        fields = json_object(record.value, "dead letter")
        source = _source(fields)
        encoded = fields.get("value_base64")
        value = fields["value"].encode() if encoded is None else base64.b64decode(encoded, validate=True)
        size = int(fields.get("truncated_from_bytes", len(value)))
        return DeadLetter(place, str(fields["reason"]), source, record.key, value, size)
    except (InvalidEventError, KeyError, AttributeError, TypeError, ValueError) as error:
        reason = f"not in the format of dead letters: {type(error).__name__}: {error}"
        source = Source(DEAD_LETTERS.name, *place, record.timestamp_ms)
        return DeadLetter(place, reason, source, record.key, record.value, len(record.value))


def _replay(record: Record) -> tuple[Source, Position] | None:
    try:
        fields = json_object(record.value, "dead letter")
        return _source(fields[_REPLAYED]), Position(int(fields["partition"]), int(fields["offset"]))
    except (InvalidEventError, KeyError, TypeError, ValueError):
        return None


def _source(fields: Mapping[str, Any]) -> Source:
    return Source(str(fields["topic"]), *(int(fields[name]) for name in Source._fields[1:]))
