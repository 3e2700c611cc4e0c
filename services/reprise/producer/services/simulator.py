"""Simulated events, appended at a fixed rate or as fast as the log accepts them."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from reprise.events import Event, encode_event
from reprise.log import EVENTS, BufferFullError, LogProducer, Position
from reprise.producer.metrics import ProducerMetrics
from reprise.runtime.exceptions import RepriseError
from reprise.runtime.logs import get_logger
from reprise.shop import EVENT_TYPES, Shop

_log = get_logger(__name__)
_BUFFER_FULL_SECONDS = 0.02
_MIN_SLEEP_SECONDS = 0.001
_REPORT_SECONDS = 10.0
_PROGRESS_EVENTS = 1000


class BurstIncompleteError(RepriseError):
    """Some events of a burst were not acknowledged; states how many."""


class RateLimiter:
    """Schedules ``rate`` events per second without drift, the first at ``start``, in seconds of any clock.

    A pause longer than ``max_backlog_seconds``, such as that of a suspended machine, is not made up for.
    """

    def __init__(self, rate: float, start: float, max_backlog_seconds: float = 1.0) -> None:
        self._rate = rate
        self._start = start
        self._max_backlog_seconds = max_backlog_seconds
        self._taken = 0

    def take_due(self, now: float) -> int:
        """Return the number of events due now, and count them as emitted."""
        behind = now - self._start - self._taken / self._rate
        if behind > self._max_backlog_seconds:
            self._start += behind
        count = max(int((now - self._start) * self._rate) + 1 - self._taken, 0)
        self._taken += count
        return count

    def seconds_to_next(self, now: float) -> float:
        """Return the time until the next event is due, in seconds."""
        return max(self._start + self._taken / self._rate - now, 0.0)


def simulated_events(shop: Shop, now_us: Callable[[], int]) -> Iterator[Event]:
    """Yield the shop's endless events in order, each with the time at which it is taken.

    Users, products and preferences equal those of a history with the same configuration and seed. Timestamps strictly
    increase. Event ids differ from those of any history and of any other start of the simulator.

    ``now_us`` returns the current time, microseconds since 1970-01-01 UTC.
    """
    users, products = shop.user_ids(), shop.product_ids()
    last_us = 0
    for batch in shop.stream(now_us()):
        columns = zip(
            batch.event_ids(),
            batch.user.tolist(),
            batch.product.tolist(),
            batch.event_type.tolist(),
            batch.amount.tolist(),
            strict=True,
        )
        for event_id, user, product, event_type, amount in columns:
            last_us = max(now_us(), last_us + 1)
            yield Event(
                event_id=event_id,
                user_id=users[user],
                product_id=products[product],
                event_type=EVENT_TYPES[event_type],
                timestamp_us=last_us,
                amount=None if math.isnan(amount) else amount,
            )


class Simulator:
    """Appends an endless iterator's events, which are created when they are taken, to the log."""

    def __init__(self, events: Iterator[Event], log: LogProducer, metrics: ProducerMetrics) -> None:
        self._events = events
        self._log = log
        self._metrics = metrics
        self._lock = threading.Lock()
        self._appended = 0
        self._failed = 0
        self._last_error: BaseException | None = None
        self.acknowledged = 0

    def run_continuously(self, rate: float, stop: threading.Event) -> None:
        """Append ``rate`` events per second until stopped; logs the rate every ten seconds."""
        limiter = RateLimiter(rate, time.monotonic())
        report_at, reported = time.monotonic(), self._appended
        while not stop.is_set():
            for _ in range(limiter.take_due(time.monotonic())):
                if not self._append(next(self._events), stop):
                    return
            now = time.monotonic()
            if now - report_at >= _REPORT_SECONDS:
                self._report((self._appended - reported) / (now - report_at))
                report_at, reported = now, self._appended
            stop.wait(max(limiter.seconds_to_next(now), _MIN_SLEEP_SECONDS))

    def run_burst(
        self, count: int, stop: threading.Event, flush_timeout: float, advance: Callable[[int], None]
    ) -> int:
        """Append ``count`` events as fast as possible; return the number of acknowledged ones.

        ``advance`` is called with the number of events appended since its last call. The final flush may take
        ``flush_timeout`` seconds.

        Raises:
            BurstIncompleteError: Some events were not acknowledged.
            LogTimeoutError: The final flush timed out.
        """
        advanced = 0
        for number in range(count):
            if stop.is_set() or not self._append(next(self._events), stop):
                break
            if number - advanced >= _PROGRESS_EVENTS:
                advance(number - advanced)
                advanced = number
        advance(self._appended - advanced)
        self._log.flush(flush_timeout)
        if self._failed:
            raise BurstIncompleteError(
                f"{self._failed:,} of {self._appended:,} events were not acknowledged: {self._last_error}"
            )
        return self.acknowledged

    def _append(self, event: Event, stop: threading.Event) -> bool:
        key, value = event.user_id.encode(), encode_event(event)
        while not stop.is_set():
            try:
                future = self._log.append(EVENTS.name, key, value)
            except BufferFullError:
                stop.wait(_BUFFER_FULL_SECONDS)
                continue
            self._appended += 1
            future.add_done_callback(self._on_done)
            return True
        return False

    def _on_done(self, future: Future[Position]) -> None:
        error = future.exception()
        with self._lock:
            if error is None:
                self.acknowledged += 1
            else:
                self._failed += 1
                self._last_error = error
        self._metrics.events.labels("simulator", "accepted" if error is None else "failed").inc()
        if error is not None:
            self._metrics.event_log.failed(error)

    def _report(self, rate: float) -> None:
        self._metrics.simulated_rate.set(rate)
        fields = {
            "events_per_second": round(rate, 1),
            "appended": self._appended,
            "acknowledged": self.acknowledged,
            "buffered": self._log.buffered(),
        }
        if self._failed:
            _log.warning("simulating", failed=self._failed, last_error=str(self._last_error), **fields)
        else:
            _log.info("simulating", **fields)
