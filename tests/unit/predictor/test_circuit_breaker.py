import pytest

from reprise.predictor.exceptions import CircuitOpenError, OverloadedError
from reprise.predictor.services.admission_control import AdmissionControl
from reprise.predictor.storage.circuit_breaker import CircuitBreaker
from reprise.store.exceptions import CorruptRowError, StoreUnavailableError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def tripped(clock: Clock) -> CircuitBreaker:
    circuit = CircuitBreaker(3, 0.5, clock)
    for _ in range(3):
        circuit.admit()
        circuit.record_failure()
    return circuit


def test_failures_that_are_not_in_a_row_leave_it_closed() -> None:
    circuit = CircuitBreaker(2, 0.5)
    for _ in range(5):
        circuit.admit()
        circuit.record_failure()
        circuit.record_success()
    assert not circuit.is_open


def test_failures_in_a_row_open_it_and_calls_are_refused_at_once() -> None:
    circuit = tripped(Clock())
    assert circuit.is_open
    with pytest.raises(CircuitOpenError, match=r"0\.5 s"):
        circuit.admit()


def test_one_trial_is_let_through_every_open_seconds() -> None:
    clock = Clock()
    circuit = tripped(clock)
    clock.now += 0.5
    circuit.admit()
    with pytest.raises(CircuitOpenError):
        circuit.admit()
    clock.now += 0.5  # the trial never came back
    circuit.admit()


def test_trial_that_fails_keeps_it_open_and_one_that_succeeds_closes_it() -> None:
    clock = Clock()
    circuit = tripped(clock)
    clock.now += 0.5
    circuit.admit()
    circuit.record_failure()
    with pytest.raises(CircuitOpenError):
        circuit.admit()
    clock.now += 0.5
    circuit.admit()
    circuit.record_success()
    circuit.admit()
    circuit.admit()


def test_answered_ping_closes_it_until_the_first_failure() -> None:
    circuit = tripped(Clock())
    circuit.half_open()
    assert not circuit.is_open
    circuit.admit()
    circuit.admit()
    circuit.record_failure()
    with pytest.raises(CircuitOpenError):
        circuit.admit()


def test_admission_refuses_one_more_than_its_limit_and_forgets_who_left() -> None:
    admission = AdmissionControl("requests", 2)
    with admission:
        with admission, pytest.raises(OverloadedError, match="2 requests"), admission:
            pass
        assert admission.in_flight == 1
    with pytest.raises(StoreUnavailableError), admission:
        raise StoreUnavailableError("read", "gone")
    with pytest.raises(CorruptRowError), admission:
        raise CorruptRowError("user_state", "n", None, "bad")
    assert admission.in_flight == 0
