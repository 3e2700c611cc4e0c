"""Appending simulated events, at a steady rate or as fast as the log takes them."""

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


class ProducerError(RepriseError):
    """Root of this service's errors."""


class BurstIncompleteError(ProducerError):
    """Some events of a burst were not acknowledged; says how many."""


class SimulatorFailedError(ProducerError):
    """The simulator ended for a reason of its own."""


class Pace:
    """Says how many events are due, so that their number never drifts from the rate.

    Args:
        rate: Events a second.
        start: The instant at which the first is due, in seconds of any clock.
        forgiven: Seconds of standstill that are made up for; a longer one, such as a suspended machine, is not.
    """

    def __init__(self, rate: float, start: float, forgiven: float = 1.0) -> None:
        if rate <= 0:
            raise ValueError(f"rate: expected more than 0 events a second, got {rate}")
        self._rate = rate
        self._start = start
        self._forgiven = forgiven
        self._emitted = 0

    def due(self, now: float) -> int:
        """Return how many events are to be emitted now, and take them as emitted."""
        behind = now - self._start - self._emitted / self._rate
        if behind > self._forgiven:
            self._start += behind
        count = max(int((now - self._start) * self._rate) + 1 - self._emitted, 0)
        self._emitted += count
        return count

    def seconds_to_next(self, now: float) -> float:
        """Return how long it is until another is due; 0 when one is."""
        return max(self._start + self._emitted / self._rate - now, 0.0)


def simulated_events(shop: Shop, now_us: Callable[[], int]) -> Iterator[Event]:
    """Yield the shop's events without end, in order, each with the time at which it is taken.

    The users, products and tastes are those of a history with the same users, products and seed. Timestamps
    strictly increase. Ids differ from those of any history, and of a simulator that was started at another time.

    Args:
        shop: The shop.
        now_us: Returns the present, microseconds since 1970-01-01 UTC.
    """
    users, products = shop.user_ids(), shop.product_ids()
    last_us = 0
    for chunk in shop.stream(now_us()):
        columns = zip(
            chunk.event_ids(),
            chunk.user.tolist(),
            chunk.product.tolist(),
            chunk.event_type.tolist(),
            chunk.amount.tolist(),
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


_log = get_logger(__name__)

_BACK_OFF_SECONDS = 0.02
_SHORTEST_SLEEP_SECONDS = 0.001
_SECONDS_BETWEEN_REPORTS = 10.0


class Simulator:
    """Appends the events of an endless source to the log.

    Args:
        events: The source; each event is made when it is taken, and so has the present as its time.
        log: Where they go.
        metrics: Where they are counted.
    """

    def __init__(self, events: Iterator[Event], log: LogProducer, metrics: ProducerMetrics) -> None:
        self._events = events
        self._log = log
        self._accepted = metrics.events.labels("simulator", "accepted")
        self._failed = metrics.events.labels("simulator", "failed")
        self._event_log = metrics.event_log
        self._rate = metrics.simulated_rate
        self._lock = threading.Lock()
        self._appended = 0
        self._acknowledged = 0
        self._failures = 0
        self._last_failure: BaseException | None = None

    @property
    def acknowledged(self) -> int:
        """How many of its events the log has acknowledged."""
        return self._acknowledged

    def run_continuously(self, rate: float, stop: threading.Event) -> None:
        """Append ``rate`` events a second until told to stop; reports its rate every ten seconds."""
        pace = Pace(rate, time.monotonic())
        report_at, reported = time.monotonic(), self._appended
        while not stop.is_set():
            for _ in range(pace.due(time.monotonic())):
                if not self._append(next(self._events), stop):
                    return
            now = time.monotonic()
            if now - report_at >= _SECONDS_BETWEEN_REPORTS:
                self._report((self._appended - reported) / (now - report_at))
                report_at, reported = now, self._appended
            stop.wait(max(pace.seconds_to_next(now), _SHORTEST_SLEEP_SECONDS))

    def run_burst(
        self, count: int, stop: threading.Event, flush_timeout: float, advance: Callable[[int], None]
    ) -> int:
        """Append ``count`` events as fast as the log takes them; return how many it has acknowledged.

        Args:
            count: How many.
            stop: Ends the burst early.
            flush_timeout: Seconds to wait for the last acknowledgements.
            advance: Is told, now and then, how many more were appended.

        Raises:
            BurstIncompleteError: Some were appended but not acknowledged.
            LogTimeoutError: The log did not settle in time.
        """
        told = 0
        for number in range(count):
            if stop.is_set() or not self._append(next(self._events), stop):
                break
            if number - told >= 1000:
                advance(number - told)
                told = number
        advance(self._appended - told)
        self._log.flush(flush_timeout)
        if self._failures:
            raise BurstIncompleteError(
                f"{self._failures:,} of {self._appended:,} events were not acknowledged: {self._last_failure}"
            )
        return self._acknowledged

    def _append(self, event: Event, stop: threading.Event) -> bool:
        """Append an event, waiting while the buffer is full; return whether it was handed over."""
        key, value = event.user_id.encode(), encode_event(event)
        while not stop.is_set():
            try:
                future = self._log.append(EVENTS.name, key, value)
            except BufferFullError:
                stop.wait(_BACK_OFF_SECONDS)
                continue
            self._appended += 1
            future.add_done_callback(self._settled)
            return True
        return False

    def _settled(self, future: Future[Position]) -> None:
        error = future.exception()
        with self._lock:
            if error is None:
                self._acknowledged += 1
            else:
                self._failures += 1
                self._last_failure = error
        if error is None:
            self._accepted.inc()
        else:
            self._failed.inc()
            self._event_log.failed(error)

    def _report(self, rate: float) -> None:
        self._rate.set(rate)
        fields = {
            "events_per_second": round(rate, 1),
            "appended": self._appended,
            "acknowledged": self._acknowledged,
            "buffered": self._log.buffered(),
        }
        if self._failures:
            _log.warning("simulating", failed=self._failures, last_error=str(self._last_failure), **fields)
        else:
            _log.info("simulating", **fields)
