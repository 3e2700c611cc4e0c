"""Ingest of events: each is validated on its own, and accepted once the log has acknowledged it."""

import asyncio
import threading
import time
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal

from reprise.events import (
    ArrivalWindow,
    Event,
    InvalidEventError,
    encode_event,
    event_from_fields,
)
from reprise.events.event import ANONYMOUS, KEY_PREFIX
from reprise.log import EVENTS, BufferFullError, EventLogError, LogProducer, LogTimeoutError, Position
from reprise.producer.metrics import ProducerMetrics

Outcome = Literal["accepted", "rejected", "overloaded", "unavailable"]


@dataclass(frozen=True, slots=True)
class EventResult:
    """The outcome of one event of a request, with its position in the log, or the invalid field and the reason.

    ``accepted``: in the log. ``rejected``: invalid, do not retry. ``overloaded``: not appended because the buffer is
    full. ``unavailable``: not acknowledged, though it may be in the log; a retry with the same ``event_id`` is safe.
    """

    outcome: Outcome
    event_id: str | None
    position: Position | None = None
    field: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Appended:
    event_id: str | None
    future: Future[Position]


class EventIngest:
    """Validates events and appends them to the log; ``ack_timeout`` is in seconds, ``window`` that of timestamps.

    ``kept_fields`` names the fields that become metadata; ``hash_user_id`` replaces user ids.
    """

    def __init__(
        self,
        log: LogProducer,
        metrics: ProducerMetrics,
        ack_timeout: float,
        window: ArrivalWindow,
        kept_fields: Container[str] = (),
        hash_user_id: Callable[[str], str] | None = None,
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._ack_timeout = ack_timeout
        self._window = window
        self._kept_fields = kept_fields
        self._hash_user_id = hash_user_id

    async def accept(self, items: Sequence[Any], caller: str | None = None) -> list[EventResult]:
        """Append the valid events among decoded JSON values; return the outcome of each, in order.

        ``caller`` is the name of the request's API key, which the events will have, or None without one.
        """
        started = time.perf_counter()
        posted_by = ANONYMOUS if caller is None else KEY_PREFIX + caller
        entries = [self._append(item, posted_by) for item in items]
        futures = [entry.future for entry in entries if isinstance(entry, _Appended)]
        if futures:
            await _wait_for_all(futures, self._ack_timeout)
            seconds = time.perf_counter() - started
            self._metrics.acknowledged(seconds)
            self._metrics.event_log.took(seconds)
        results = [self._result(entry) if isinstance(entry, _Appended) else entry for entry in entries]
        for result in results:
            outcome = result.outcome if result.outcome in {"accepted", "rejected"} else "failed"
            self._metrics.events.labels("http", outcome).inc()
        return results

    def _append(self, item: Any, posted_by: str) -> _Appended | EventResult:
        given = item.get("event_id") if isinstance(item, dict) else None
        event_id = given if isinstance(given, str) else None
        try:
            event = self._validated(item, posted_by)
        except InvalidEventError as error:
            return EventResult("rejected", event_id, field=error.field, reason=str(error))
        try:
            return _Appended(
                event_id, self._log.append(EVENTS.name, event.user_id.encode(), encode_event(event))
            )
        except EventLogError as error:
            return self._failed(event_id, error)

    def _validated(self, item: Any, posted_by: str) -> Event:
        if not isinstance(item, dict):
            raise InvalidEventError("event", item, "a JSON object")
        event = event_from_fields(item | {"posted_by": posted_by}, self._kept_fields)
        self._window.check(event)
        if self._hash_user_id is not None:
            event = replace(event, user_id=self._hash_user_id(event.user_id))
        return event

    def _result(self, entry: _Appended) -> EventResult:
        if not entry.future.done():
            error = LogTimeoutError(f"the log did not acknowledge it within {self._ack_timeout:g} s")
            return self._failed(entry.event_id, error)
        failure = entry.future.exception()
        if failure is None:
            return EventResult("accepted", entry.event_id, entry.future.result())
        if isinstance(failure, EventLogError):
            return self._failed(entry.event_id, failure)
        raise failure

    def _failed(self, event_id: str | None, error: EventLogError) -> EventResult:
        self._metrics.event_log.failed(error)
        outcome: Outcome = "overloaded" if isinstance(error, BufferFullError) else "unavailable"
        return EventResult(outcome, event_id, reason=str(error))


async def _wait_for_all(futures: Sequence[Future[Position]], timeout: float) -> None:
    """Wait until all futures are done, or the timeout; wakes the event loop once instead of once per future."""
    loop = asyncio.get_running_loop()
    all_done = asyncio.Event()
    remaining = len(futures)
    lock = threading.Lock()

    def on_done(_: Future[Position]) -> None:
        nonlocal remaining
        with lock:
            remaining -= 1
            last = remaining == 0
        if last:
            loop.call_soon_threadsafe(all_done.set)

    for future in futures:
        future.add_done_callback(on_done)
    try:
        await asyncio.wait_for(all_done.wait(), timeout)
    except TimeoutError:
        return
