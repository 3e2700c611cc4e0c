"""The modes of the ``produce`` command.

All raise ``EventLogError`` where the log cannot be opened, or the final flush failed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from reprise.http.metrics import process_registry
from reprise.http.server import run_service
from reprise.http.tracing.factory import Tracing, open_tracing
from reprise.log import LogProducer, open_producer
from reprise.producer.app import create_app
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.services.simulator import Simulator, simulated_events
from reprise.producer.settings import ProducerSettings
from reprise.runtime.exceptions import InvalidSettingsError
from reprise.runtime.progress import progress
from reprise.runtime.signals import stop_on_signals
from reprise.runtime.worker_threads import WorkerThreads
from reprise.shop import Shop, ShopConfig

DISTRIBUTION = "reprise-producer"


class _Context(NamedTuple):
    log: LogProducer
    metrics: ProducerMetrics
    tracing: Tracing | None

    def simulator(self, shop: ShopConfig) -> Simulator:
        events = simulated_events(Shop(shop), lambda: time.time_ns() // 1000)
        return Simulator(events, self.log, self.metrics)


def serve(settings: ProducerSettings, *, shop: ShopConfig | None = None, rate: float = 0.0) -> None:
    """Serve ``POST /events`` until SIGTERM or SIGINT; with a shop, also simulate ``rate`` events per second.

    Raises:
        ServerStartError: The address is in use.
        InvalidSettingsError: Tracing is enabled but cannot be set up, or anybody could send events.
        Exception: What the simulator raised.
    """
    if settings.is_open and not settings.allow_anonymous:
        raise InvalidSettingsError(
            [
                f"API_HOST: anybody who reaches {settings.api_host} could send events: configure API keys"
                " (PRODUCER_API_KEYS_FILE), listen on 127.0.0.1, or set PRODUCER_ALLOW_ANONYMOUS=true"
            ]
        )
    with _opened(settings, traced=True) as context:
        workers = None
        if shop is not None:
            simulator = context.simulator(shop)
            workers = WorkerThreads(
                {"simulator": lambda stop: simulator.run_continuously(rate, stop)},
                settings.flush_timeout_seconds,
            )
        app = create_app(settings, context.log, context.metrics, context.tracing, workers)
        run_service(app, settings, drain_seconds=settings.drain_seconds)


def simulate_continuously(settings: ProducerSettings, shop: ShopConfig, rate: float) -> None:
    """Simulate ``rate`` events per second, without HTTP, until SIGTERM or SIGINT."""
    with _opened(settings) as context, stop_on_signals() as stop:
        context.simulator(shop).run_continuously(rate, stop)


def simulate_burst(settings: ProducerSettings, shop: ShopConfig, count: int) -> tuple[int, float]:
    """Simulate ``count`` events as fast as possible; return how many were acknowledged, and the duration in seconds.

    Raises:
        BurstIncompleteError: Some events were not acknowledged.
    """
    with _opened(settings) as context, stop_on_signals() as stop:
        simulator = context.simulator(shop)
        started = time.perf_counter()
        with progress("Appending events", count, "events") as bar:
            acknowledged = simulator.run_burst(count, stop, settings.flush_timeout_seconds, bar.advance)
        return acknowledged, time.perf_counter() - started


@contextmanager
def _opened(settings: ProducerSettings, *, traced: bool = False) -> Iterator[_Context]:
    registry = process_registry(DISTRIBUTION)
    tracing = open_tracing(settings, DISTRIBUTION, registry) if traced else None
    log = open_producer(settings)
    try:
        yield _Context(log, ProducerMetrics(registry, log.buffered, tracing), tracing)
        log.flush(settings.flush_timeout_seconds)
    finally:
        log.close(settings.flush_timeout_seconds)
