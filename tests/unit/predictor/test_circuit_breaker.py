import pytest

from reprise.predictor.exceptions import OverloadedError, StoreHeldOffError
from reprise.predictor.services.admission_control import Admission
from reprise.predictor.storage.circuit_breaker import Circuit
from reprise.store.exceptions import CorruptRowError, StoreUnavailableError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def tripped(clock: Clock) -> Circuit:
    circuit = Circuit(3, 0.5, clock)
    for _ in range(3):
        circuit.enter()
        circuit.failed()
    return circuit


def test_failures_that_are_not_in_a_row_leave_it_closed() -> None:
    circuit = Circuit(2, 0.5)
    for _ in range(5):
        circuit.enter()
        circuit.failed()
        circuit.succeeded()
    assert not circuit.is_open


def test_failures_in_a_row_open_it_and_calls_are_refused_at_once() -> None:
    circuit = tripped(Clock())
    assert circuit.is_open
    with pytest.raises(StoreHeldOffError, match=r"again in 0\.5 s"):
        circuit.enter()


def test_one_trial_is_let_through_every_open_seconds() -> None:
    clock = Clock()
    circuit = tripped(clock)
    clock.now += 0.5
    circuit.enter()
    with pytest.raises(StoreHeldOffError):
        circuit.enter()
    clock.now += 0.5  # the trial never came back
    circuit.enter()


def test_trial_that_fails_keeps_it_open_and_one_that_succeeds_closes_it() -> None:
    clock = Clock()
    circuit = tripped(clock)
    clock.now += 0.5
    circuit.enter()
    circuit.failed()
    with pytest.raises(StoreHeldOffError):
        circuit.enter()
    clock.now += 0.5
    circuit.enter()
    circuit.succeeded()
    circuit.enter()
    circuit.enter()


def test_sign_of_life_closes_it_until_the_first_failure() -> None:
    circuit = tripped(Clock())
    circuit.sign_of_life()
    assert not circuit.is_open
    circuit.enter()
    circuit.enter()
    circuit.failed()
    with pytest.raises(StoreHeldOffError):
        circuit.enter()


def test_admission_refuses_one_more_than_its_limit_and_forgets_who_left() -> None:
    admission = Admission("requests", 2)
    with admission:
        with admission, pytest.raises(OverloadedError, match="2 requests"), admission:
            pass
        assert admission.under_way == 1
    with pytest.raises(StoreUnavailableError), admission:
        raise StoreUnavailableError("read", "gone")
    with pytest.raises(CorruptRowError), admission:
        raise CorruptRowError("user_state", "n", None, "bad")
    assert admission.under_way == 0
