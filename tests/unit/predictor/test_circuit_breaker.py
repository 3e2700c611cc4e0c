import pytest

from reprise.predictor.exceptions import CircuitOpenError, OverloadedError
from reprise.predictor.services.prediction import AdmissionControl
from reprise.predictor.storage.state_reader import CircuitBreaker
from reprise.store.exceptions import CorruptRowError, StoreUnavailableError


class Circuit:
    """A circuit breaker that three failures open for half a second, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self._circuit = CircuitBreaker(3, 0.5, lambda: self.now)

    def do(self, step: str) -> None:
        """Fail or succeed at a call that is admitted, have one refused, answer a ping, or wait half a second."""
        if step == "wait":
            self.now += 0.5
        elif step == "ping":
            self._circuit.half_open()
        elif step == "refused":
            with pytest.raises(CircuitOpenError, match=r"0\.5 s"):
                self._circuit.admit()
        else:
            self._circuit.admit()
            if step == "fail":
                self._circuit.record_failure()
            elif step == "succeed":
                self._circuit.record_success()


OPEN = ["fail"] * 3


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(["fail", "fail", "succeed"] * 5, id="failures that are not consecutive leave it closed"),
        pytest.param([*OPEN, "refused"], id="consecutive failures open it"),
        pytest.param(
            [*OPEN, "wait", "hang", "refused", "wait", "hang"],
            id="one trial an interval, also without an answer",
        ),
        pytest.param([*OPEN, "wait", "fail", "refused"], id="a failed trial keeps it open"),
        pytest.param([*OPEN, "wait", "succeed", "fail", "fail", "hang"], id="a successful trial closes it"),
        pytest.param(
            [*OPEN, "ping", "hang", "fail", "refused"], id="an answered ping admits until a failure"
        ),
    ],
)
def test_circuit_breaker(steps: list[str]) -> None:
    circuit = Circuit()
    for step in steps:
        circuit.do(step)


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
