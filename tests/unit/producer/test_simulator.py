import contextlib
import threading
import time
from itertools import chain, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.events import decode_event
from reprise.log import EVENTS, EventLogError, LogTimeoutError, LogUnavailableError
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.services.simulator import BurstIncompleteError, RateLimiter, Simulator, simulated_events
from reprise.shop import Shop, ShopConfig
from support.fake_log import FakeLogProducer

NOW_US = 1_780_000_000_000_000
SMALL = ShopConfig(seed=3, users=50, products=20)


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def simulator(log: FakeLogProducer, metrics: ProducerMetrics) -> Simulator:
    events = simulated_events(Shop(SMALL), now_us)
    # the first event takes as long as making the shop
    return Simulator(chain([next(events)], events), log, metrics)


def test_events_are_of_the_shops_people_and_goods_and_of_the_present() -> None:
    shop = Shop(SMALL)
    events = list(islice(simulated_events(shop, lambda: NOW_US), 500))
    assert {event.user_id for event in events} <= set(shop.user_ids())
    assert {event.product_id for event in events} <= set(shop.product_ids())
    assert {event.event_type for event in events} == {"view", "purchase"}
    assert all((event.amount is None) == (event.event_type == "view") for event in events)
    assert len({event.event_id for event in events}) == 500
    stamps = [event.timestamp_us for event in events]
    assert stamps == list(range(NOW_US, NOW_US + 500))


def test_events_of_two_starts_have_different_ids() -> None:
    one = {event.event_id for event in islice(simulated_events(Shop(SMALL), lambda: NOW_US), 200)}
    two = {event.event_id for event in islice(simulated_events(Shop(SMALL), lambda: NOW_US + 1), 200)}
    assert not one & two


def test_clock_that_steps_back_does_not_turn_events_back() -> None:
    times = iter([NOW_US, NOW_US, NOW_US + 10, NOW_US - 5_000_000, NOW_US - 1])
    events = islice(simulated_events(Shop(SMALL), lambda: next(times)), 4)
    assert [event.timestamp_us - NOW_US for event in events] == [0, 10, 11, 12]


def test_burst_appends_exactly_the_count_and_tells_its_progress(
    simulator: Simulator, log: FakeLogProducer
) -> None:
    told: list[int] = []
    assert simulator.run_burst(2500, threading.Event(), 1.0, told.append) == 2500
    assert sum(told) == len(log.appended) == 2500
    assert len(told) > 1
    topic, key, value = log.appended[0]
    assert (topic, key) == (EVENTS.name, decode_event(value).user_id.encode())
    assert log.flushes == 1


def test_burst_waits_while_the_buffer_is_full(simulator: Simulator, log: FakeLogProducer) -> None:
    log.hold, log.capacity = True, 10
    full = []

    def acknowledge() -> None:
        while simulator.acknowledged < 100:
            time.sleep(0.005)
            full.append(log.buffered())
            log.acknowledge()

    thread = threading.Thread(target=acknowledge)
    thread.start()
    stop = threading.Event()
    with contextlib.suppress(LogTimeoutError):
        simulator.run_burst(100, stop, 1.0, lambda _: None)
    thread.join(10)
    assert simulator.acknowledged == 100
    assert max(full) == 10


def test_burst_that_lost_events_says_how_many_and_why(simulator: Simulator, log: FakeLogProducer) -> None:
    log.failure = lambda number: LogUnavailableError("disk full") if number % 2 else None
    with pytest.raises(BurstIncompleteError, match=r"50 of 100 .*disk full"):
        simulator.run_burst(100, threading.Event(), 1.0, lambda _: None)


def test_burst_ends_early_when_told_to_stop(simulator: Simulator, log: FakeLogProducer) -> None:
    stop = threading.Event()
    stop.set()
    assert simulator.run_burst(1000, stop, 1.0, lambda _: None) == 0
    assert log.appended == []


def test_continuous_mode_keeps_its_rate(
    simulator: Simulator, log: FakeLogProducer, metrics: ProducerMetrics
) -> None:
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    started = time.monotonic()
    simulator.run_continuously(200, stop)
    expected = (time.monotonic() - started) * 200
    assert expected - 40 <= len(log.appended) <= expected + 2
    assert metrics.registry.get_sample_value(
        "reprise_producer_events_total", {"source": "simulator", "outcome": "accepted"}
    ) == len(log.appended)


def test_continuous_mode_goes_on_while_the_log_is_away(simulator: Simulator, log: FakeLogProducer) -> None:
    stop = threading.Event()

    def failure(number: int) -> EventLogError | None:
        if number >= 40:
            stop.set()
        return LogUnavailableError("away") if number < 20 else None

    log.failure = failure
    simulator.run_continuously(200, stop)
    assert simulator.acknowledged == len(log.appended) - 20 > 0


def test_full_buffer_does_not_keep_continuous_mode_from_stopping(
    simulator: Simulator, log: FakeLogProducer
) -> None:
    log.capacity = 0
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    started = time.monotonic()
    simulator.run_continuously(1000, stop)
    assert time.monotonic() - started < 5


@given(
    rate=st.floats(0.5, 50_000),
    steps=st.lists(st.floats(0.0001, 0.9), min_size=1, max_size=50),
)
def test_number_of_events_never_drifts_from_the_rate(rate: float, steps: list[float]) -> None:
    now, emitted = 100.0, 0
    limiter = RateLimiter(rate, now)
    for step in steps:
        emitted += limiter.take_due(now)
        assert abs(emitted - ((now - 100.0) * rate + 1)) <= 1.001
        now += step


@pytest.mark.parametrize(
    ("rate", "times", "due"),
    [
        (10, (0.0, 0.0, 0.05, 0.1, 0.1), [1, 0, 0, 1, 0]),
        (100, (0.0, 0.5), [1, 50]),
        (100, (0.0, 3600.0, 3600.5), [1, 1, 50]),
    ],
    ids=["nothing is due twice", "a short delay is made up for", "a standstill is not"],
)
def test_what_is_due(rate: float, times: tuple[float, ...], due: list[int]) -> None:
    limiter = RateLimiter(rate, 0.0)
    assert [limiter.take_due(now) for now in times] == due


def test_wait_is_until_the_next_is_due() -> None:
    limiter = RateLimiter(10, 0.0)
    limiter.take_due(0.0)
    assert limiter.seconds_to_next(0.03) == pytest.approx(0.07)
    assert limiter.seconds_to_next(0.5) == 0.0
