"""A tree of processes that ends as a whole."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from reprise.cli.demo.waiting import DemoError
from reprise.runtime.signals import deferred_signals, die_with_parent

_STOP_SECONDS = 15.0
_SHOWN_LOG_LINES = 25


class StepFailedError(DemoError):
    """A process of the demo failed, or ended too early."""

    def __init__(self, name: str, status: int, output: str) -> None:
        super().__init__(f"{name} ended with status {status}; the end of its output:\n{output}")


class ProcessTree:
    """Starts processes that end with this one, however it ends; their output goes to a file each in ``logs``."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every process, the latest first."""
        for process in reversed(self._running.values()):
            _stop(process)

    def run(self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        """Run a command of Reprise to its end and return its output; its progress goes to this one's terminal.

        Raises:
            StepFailedError: It failed.
        """
        status = self._popen(name, own_command(*arguments), environment, shows_errors=True).wait()
        del self._running[name]
        if status != 0:
            raise self._failure(name, status)
        return self._log(name).read_text(errors="replace")

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a process in the background."""
        self._popen(name, command, environment, shows_errors=False)

    def serve(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], port: int | None = None
    ) -> str:
        """Start a service of Reprise in the background, by default on a free port, and return its address."""
        port = port or free_port()
        listen = {"API_HOST": "127.0.0.1", "API_PORT": str(port)}
        self.start(name, own_command(*arguments), {**environment, **listen})
        return f"http://127.0.0.1:{port}"

    def stop(self, name: str) -> None:
        """Stop a process and wait for it."""
        _stop(self._running.pop(name))

    def check(self) -> None:
        """Check that every started process still runs.

        Raises:
            StepFailedError: One has ended.
        """
        for name, process in self._running.items():
            if (status := process.poll()) is not None:
                raise self._failure(name, status)

    def _popen(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None, *, shows_errors: bool
    ) -> subprocess.Popen[bytes]:
        """Start in its own session, so that Ctrl-C reaches only the parent, which stops the rest in order."""
        with deferred_signals(), self._log(name).open("wb") as out:
            self._running[name] = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=None if shows_errors else out,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - no threads yet
            )
        return self._running[name]

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _failure(self, name: str, status: int) -> StepFailedError:
        time.sleep(0.05)  # the last output of a killed process may still be on its way to the file
        lines = self._log(name).read_text(errors="replace").splitlines()
        return StepFailedError(name, status, "\n".join(lines[-_SHOWN_LOG_LINES:]))


def own_command(*arguments: str) -> list[str]:
    """Return the command line of one of Reprise's commands, run by this interpreter."""
    return [sys.executable, "-m", "reprise.cli", *arguments]


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
