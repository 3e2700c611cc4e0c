import pytest

from reprise.predictor.exceptions import CircuitOpenError, OverloadedError
from reprise.predictor.services.prediction import AdmissionControl
from reprise.predictor.storage.state_reader import CircuitBreaker
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


def test_failures_that_are_not_consecutive_leave_the_circuit_closed() -> None:
    circuit = CircuitBreaker(2, 0.5)
    for _ in range(5):
        circuit.admit()
        circuit.record_failure()
        circuit.record_success()
    assert not circuit.is_open


def test_consecutive_failures_open_the_circuit_and_calls_are_refused() -> None:
    circuit = tripped(Clock())
    assert circuit.is_open
    with pytest.raises(CircuitOpenError, match=r"0\.5 s"):
        circuit.admit()


def test_one_trial_is_admitted_per_interval() -> None:
    clock = Clock()
    circuit = tripped(clock)
    clock.now += 0.5
    circuit.admit()
    with pytest.raises(CircuitOpenError):
        circuit.admit()
    clock.now += 0.5  # the trial never came back
    circuit.admit()


def test_failed_trial_keeps_the_circuit_open_and_a_successful_one_closes_it() -> None:
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


def test_answered_ping_half_opens_the_circuit() -> None:
    circuit = tripped(Clock())
    circuit.half_open()
    assert not circuit.is_open
    circuit.admit()
    circuit.admit()
    circuit.record_failure()
    with pytest.raises(CircuitOpenError):
        circuit.admit()


def test_admission_refuses_requests_beyond_its_limit_until_one_ends() -> None:
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
