"""What the ``produce`` command does in each of its modes."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from reprise.http.background import BackgroundTasks
from reprise.http.metrics import process_registry
from reprise.http.server import run
from reprise.http.tracing.factory import open_tracing
from reprise.http.tracing.stages import Tracing
from reprise.log import LogProducer, open_producer
from reprise.producer.app import DISTRIBUTION, ProducerContext, build_ingest, create_app
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.services.simulator import Simulator, SimulatorFailedError, simulated_events
from reprise.producer.settings import ProducerSettings
from reprise.runtime.logs import get_logger
from reprise.runtime.progress import progress
from reprise.shop import Shop, ShopConfig

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    log: LogProducer
    metrics: ProducerMetrics
    tracing: Tracing | None


def serve(settings: ProducerSettings, *, simulate: ShopConfig | None = None, rate: float = 0.0) -> None:
    """Take events over HTTP until told to stop, simulating ``rate`` a second meanwhile where a shop is given.

    Raises:
        EventLogError: The log cannot be opened, or did not settle at the end.
        ServerStartError: The address is taken.
        SimulatorFailedError: The simulator ended for a reason of its own.
        InvalidSettingsError: Traces are on, and cannot be made.
    """
    with _opened(settings, traced=True) as parts:
        simulator = None
        if simulate is not None:
            simulated = _simulator(parts, simulate)
            simulator = BackgroundTasks({"simulator": lambda stop: simulated.run_continuously(rate, stop)})
        ingest = build_ingest(settings, parts.log, parts.metrics)
        context = ProducerContext(settings, parts.log, parts.metrics, ingest, simulator, parts.tracing)
        run(create_app(context), settings.api_host, settings.api_port, drain_seconds=settings.drain_seconds)
        if simulator is not None and simulator.failure is not None:
            raise SimulatorFailedError(f"the simulator ended: {simulator.failure}") from simulator.failure


def simulate_continuously(settings: ProducerSettings, shop: ShopConfig, rate: float) -> None:
    """Simulate ``rate`` events a second, without HTTP, until told to stop.

    Raises:
        EventLogError: The log cannot be opened, or did not settle at the end.
    """
    with _opened(settings) as parts, _stop_on_signals() as stop:
        _simulator(parts, shop).run_continuously(rate, stop)


def simulate_burst(settings: ProducerSettings, shop: ShopConfig, count: int) -> tuple[int, float]:
    """Simulate ``count`` events as fast as the log takes them; return how many it took, and the seconds.

    Raises:
        EventLogError: The log cannot be opened, or did not settle at the end.
        BurstIncompleteError: Some were not acknowledged.
    """
    with _opened(settings) as parts, _stop_on_signals() as stop:
        simulator = _simulator(parts, shop)
        started = time.perf_counter()
        with progress("Appending events", count, "events") as bar:
            acknowledged = simulator.run_burst(count, stop, settings.flush_timeout_seconds, bar.advance)
        return acknowledged, time.perf_counter() - started


@contextlib.contextmanager
def _opened(settings: ProducerSettings, *, traced: bool = False) -> Iterator[_Parts]:
    registry = process_registry(DISTRIBUTION)
    tracing = open_tracing(settings, DISTRIBUTION, registry) if traced else None
    log = open_producer(settings)
    try:
        yield _Parts(log, ProducerMetrics(registry, log.buffered, tracing), tracing)
        log.flush(settings.flush_timeout_seconds)
    finally:
        log.close(settings.flush_timeout_seconds)


def _simulator(parts: _Parts, shop: ShopConfig) -> Simulator:
    events = simulated_events(Shop(shop), lambda: time.time_ns() // 1000)
    return Simulator(events, parts.log, parts.metrics)


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        _log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
