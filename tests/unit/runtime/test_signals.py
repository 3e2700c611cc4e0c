"""Signals that end a program."""

import os
import signal
import time

import pytest

from reprise.runtime.signals import deferred_signals, interrupt_on_signals


class InterruptedFinalizer:
    """Gets the signal while it is being deleted, where Python ignores what the handler raises."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_that_hits_a_finalizer_comes_again(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    reached: list[str] = []

    def work() -> None:
        with interrupt_on_signals():
            finalized = InterruptedFinalizer(number)
            del finalized
            reached.append("the first interrupt was ignored")
            time.sleep(30)
            reached.append("no other came")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the first interrupt was ignored"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(number) is before


def test_a_deferred_signal_is_handled_after_the_block() -> None:
    reached: list[str] = []

    def work() -> None:
        with interrupt_on_signals(), deferred_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("the end of the block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the end of the block"]
