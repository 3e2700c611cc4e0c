"""A tree of processes that ends as a whole."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from reprise.cli.demo.exceptions import StepFailedError

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 15.0
_SHOWN_LOG_LINES = 25


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class ProcessTree:
    """Starts processes that end with this one, however it ends; their output goes to a file each in ``logs``."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every process, the latest first."""
        for child in reversed(self._children):
            _stop(child.process)

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        """Run a process to its end and return its output; its progress goes to this one's terminal.

        Raises:
            StepFailedError: It failed.
        """
        log = self._logs / f"{name}.log"
        with log.open("wb") as out:
            child = _Child(name, _popen(command, environment, out, None), log)
            self._children.append(child)
            status = child.process.wait()
        self._children.remove(child)
        if status != 0:
            raise StepFailedError(name, status, _tail(log))
        return log.read_text(errors="replace")

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process in the background."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as out:
            self._children.append(_Child(name, _popen(command, environment, out, out), log))

    def stop(self, name: str) -> None:
        """Stop a process and wait for it."""
        child = next(child for child in self._children if child.name == name)
        _stop(child.process)
        self._children.remove(child)

    def check(self) -> None:
        """Check that every started process still runs.

        Raises:
            StepFailedError: One has ended.
        """
        for child in self._children:
            status = child.process.poll()
            if status is not None:
                raise StepFailedError(child.name, status, _tail(child.log))


def own_command(*arguments: str) -> list[str]:
    """Return the command line of one of Reprise's commands, run by this interpreter."""
    return [sys.executable, "-m", "reprise.cli", *arguments]


def _popen(
    command: Sequence[str], environment: Mapping[str, str] | None, out: BinaryIO, err: BinaryIO | None
) -> subprocess.Popen[bytes]:
    """Start in its own session, so that Ctrl-C reaches only the parent, which stops the rest in order."""
    return subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads yet
    )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    time.sleep(0.05)  # the last output of a killed process may still be on its way to the file
    return "\n".join(log.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:])
