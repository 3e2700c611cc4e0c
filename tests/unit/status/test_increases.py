from hypothesis import given
from hypothesis import strategies as st

from reprise.status.analysis.history import CounterIncreases
from reprise.status.scrape.snapshot import ProcessSnapshot
from support.seen_platform import process, silent

EVENTS = 'reprise_materializer_events_total{outcome="folded"}'
NAME, LABELS = "reprise_materializer_events_total", (("outcome", "folded"),)


def grown(increases: CounterIncreases, at: float, *processes: ProcessSnapshot) -> float | None:
    found = increases.since_last(at, [("materializer", each) for each in processes])
    return found.get(NAME, {}).get(LABELS)


def of(value: float, address: str = "10.0.0.1:8002") -> ProcessSnapshot:
    return process({EVENTS: value}, address)


def test_first_look_at_a_process_counts_nothing_of_its_past() -> None:
    assert grown(CounterIncreases(60), 0, of(1_000_000)) is None


def test_growth_is_summed_over_processes() -> None:
    increases = CounterIncreases(60)
    grown(increases, 0, of(10), of(100, "10.0.0.2:8002"))
    assert grown(increases, 5, of(13), of(104, "10.0.0.2:8002")) == 7


def test_counter_that_fell_has_begun_anew_with_its_process() -> None:
    increases = CounterIncreases(60)
    grown(increases, 0, of(1000))
    assert grown(increases, 5, of(4)) == 4
    assert grown(increases, 10, of(6)) == 2


def test_process_that_comes_or_goes_adds_no_jump() -> None:
    increases = CounterIncreases(60)
    grown(increases, 0, of(10))
    assert grown(increases, 5, of(12), of(5000, "10.0.0.2:8002")) == 2
    assert grown(increases, 10, of(5003, "10.0.0.2:8002")) == 3


def test_series_that_a_known_process_did_not_have_grew_from_zero() -> None:
    increases = CounterIncreases(60)
    grown(increases, 0, process({"reprise_ready": 1}, "10.0.0.1:8002"))
    assert grown(increases, 5, of(3)) == 3


def test_look_that_failed_leaves_its_growth_to_the_next() -> None:
    increases = CounterIncreases(60)
    grown(increases, 0, of(10))
    assert grown(increases, 5, silent(address="10.0.0.1:8002")) is None
    assert grown(increases, 10, of(30)) == 20


def test_process_that_was_out_of_sight_for_long_is_counted_from_anew() -> None:
    increases = CounterIncreases(60)
    grown(increases, 0, of(10))
    assert grown(increases, 61, of(100_000)) is None
    assert grown(increases, 66, of(100_001)) == 1


def test_processes_that_are_gone_are_forgotten() -> None:
    increases = CounterIncreases(60)
    for at in range(0, 1000, 5):
        grown(increases, at, of(1, f"10.0.0.{at % 250}:{at}"))
    assert len(increases._known) <= 13


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=30))
def test_what_restarts_lose_is_never_counted_twice(steps: list[tuple[int, bool]]) -> None:
    increases = CounterIncreases(60)
    value, truth, counted = 0, 0, 0.0
    grown(increases, 0, of(0))
    for at, (more, restarts) in enumerate(steps, 1):
        value = more if restarts else value + more
        truth += more
        counted += grown(increases, at, of(value)) or 0
    # A restart that overtakes the old value looks like growth from it: less than the truth, never more.
    assert counted <= truth
    if not any(restarts for _, restarts in steps):
        assert counted == truth
