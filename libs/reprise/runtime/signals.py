"""Ending a process by SIGTERM and SIGINT, or with its parent."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from reprise.runtime.logs import get_logger

_AGAIN_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1

_log = get_logger(__name__)


def terminate_process() -> None:
    """Send this process SIGTERM, as Kubernetes does."""
    os.kill(os.getpid(), signal.SIGTERM)


def die_with_parent() -> None:
    """Have Linux kill this process when the thread that started it ends; elsewhere do nothing. See prctl(2)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set, instead of what they did before."""
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        _log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    with _handled(handle, signal.SIGTERM, signal.SIGINT):
        yield stop


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` in the main thread on SIGTERM and SIGINT, and every second until the block ends.

    Python ignores an exception in a finalizer, which the garbage collector may run at any moment. A SIGINT that is
    ignored, as in a shell's background jobs, stays so.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        raise KeyboardInterrupt

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    with _handled(handle, signal.SIGTERM, signal.SIGALRM, *([] if ignored else [signal.SIGINT])):
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Run the handlers of SIGTERM, SIGINT and SIGALRM after the block, if they are Python's; in the main thread only.

    A handler that raises would interrupt ``Popen`` between the start of the process and the caller that stops it.
    Blocking the signals instead leaves them to the other threads.
    """
    arrived: list[int] = []
    numbers = [
        each for each in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM) if callable(signal.getsignal(each))
    ]
    try:
        with _handled(lambda number, _: arrived.append(number), *numbers):
            yield
    finally:
        for number in tuple(arrived):
            signal.raise_signal(number)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack, so that unfinished files are removed; the exit status is 143."""
    with _handled(lambda number, _: sys.exit(128 + number), signal.SIGTERM):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
