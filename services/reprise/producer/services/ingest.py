"""Taking events: each is checked by itself, and accepted only when the log has acknowledged it."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from reprise.events import Event, InvalidEventError, decode_event, encode_event, event_from_fields
from reprise.log import EVENTS, BufferFullError, EventLogError, LogProducer, LogTimeoutError, Position
from reprise.producer.metrics import ProducerMetrics

Outcome = Literal["accepted", "rejected", "overloaded", "unavailable"]


@dataclass(frozen=True, slots=True)
class EventResult:
    """What became of one event of a request.

    Attributes:
        outcome: ``accepted``: in the log. ``rejected``: breaks the contract, sending it again is pointless.
            ``overloaded``: not taken because too much waits. ``unavailable``: the log did not acknowledge it;
            it may be there all the same, and sending it again under its ``event_id`` is safe.
        event_id: The event's id, where it has one.
        position: Where it is in the log, when accepted.
        field: The field at fault, when rejected.
        reason: Why it was not accepted.
    """

    outcome: Outcome
    event_id: str | None
    position: Position | None = None
    field: str | None = None
    reason: str | None = None


class EventIngest:
    """Checks events and appends them to the log.

    Args:
        log: Where the events go.
        metrics: Where they are counted.
        ack_timeout: Seconds that the log may take to acknowledge the events of one call.
    """

    def __init__(self, log: LogProducer, metrics: ProducerMetrics, ack_timeout: float) -> None:
        self._log = log
        self._metrics = metrics
        self._ack_timeout = ack_timeout

    async def accept(self, items: Sequence[Any]) -> list[EventResult]:
        """Return what became of each of the decoded JSON values, in their order.

        All that are valid are handed to the log at once, in order; a broken one does not keep the others out.
        """
        started = time.perf_counter()
        pending = [self._hand_over(item) for item in items]
        futures = [entry for entry in pending if isinstance(entry, _Appended)]
        await _settled([entry.future for entry in futures], self._ack_timeout)
        if futures:
            seconds = time.perf_counter() - started
            self._metrics.acknowledged(seconds)
            self._metrics.event_log.took(seconds)
        results = [self._result(entry) if isinstance(entry, _Appended) else entry for entry in pending]
        for result in results:
            outcome = result.outcome if result.outcome in {"accepted", "rejected"} else "failed"
            self._metrics.events.labels("http", outcome).inc()
        return results

    def _hand_over(self, item: Any) -> "_Appended | EventResult":
        event_id = _event_id(item)
        try:
            event, value = _checked(item)
        except InvalidEventError as error:
            return EventResult("rejected", event_id, field=error.field, reason=str(error))
        try:
            return _Appended(event_id, self._log.append(EVENTS.name, event.user_id.encode(), value))
        except BufferFullError as error:
            self._metrics.event_log.failed(error)
            return EventResult("overloaded", event_id, reason=str(error))
        except EventLogError as error:
            self._metrics.event_log.failed(error)
            return EventResult("unavailable", event_id, reason=str(error))

    def _result(self, entry: "_Appended") -> EventResult:
        if not entry.future.done():
            late = LogTimeoutError(f"the log did not acknowledge it within {self._ack_timeout:g} s")
            self._metrics.event_log.failed(late)
            return EventResult("unavailable", entry.event_id, reason=str(late))
        error = entry.future.exception()
        if error is None:
            return EventResult("accepted", entry.event_id, entry.future.result())
        if isinstance(error, EventLogError):
            self._metrics.event_log.failed(error)
            return EventResult("unavailable", entry.event_id, reason=str(error))
        raise error


@dataclass(frozen=True, slots=True)
class _Appended:
    event_id: str | None
    future: Future[Position]


def _event_id(item: Any) -> str | None:
    given = item.get("event_id") if isinstance(item, dict) else None
    return given if isinstance(given, str) else None


def _checked(item: Any) -> tuple[Event, bytes]:
    if not isinstance(item, dict):
        raise InvalidEventError("event", item, "a JSON object")
    event = event_from_fields(item)
    try:
        value = encode_event(event)
    except orjson.JSONEncodeError as error:
        raise InvalidEventError("metadata", event.metadata, f"JSON that can be written ({error})") from None
    # what consumers would send to the dead letters is refused here, where the sender still listens
    decode_event(value)
    return event, value


async def _settled(futures: Sequence[Future[Position]], timeout: float) -> None:
    """Wait until all futures are done, or the time is over; wakes the loop once, not once per future."""
    if not futures:
        return
    loop = asyncio.get_running_loop()
    all_done = asyncio.Event()
    left = len(futures)
    lock = threading.Lock()

    def one_done(_: Future[Position]) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            loop.call_soon_threadsafe(all_done.set)

    for future in futures:
        future.add_done_callback(one_done)
    try:
        await asyncio.wait_for(all_done.wait(), timeout)
    except TimeoutError:
        return
