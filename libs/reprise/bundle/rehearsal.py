"""The rehearsal of a bundle: a child process loads its graphs and scores a batch, before this process does.

A graph that crashes ONNX Runtime, does not return, or takes too much memory then does so in the child alone.
"""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reprise.bundle.bundle import Bundle
from reprise.bundle.exceptions import UnfinishedRehearsalError, UnusableModelError
from reprise.runtime.signals import die_with_parent

# Its priority is low before it imports anything.
_PROGRAM = "import os; os.nice(10); from reprise.bundle.rehearsal import rehearse; rehearse()"
_ROWS = 1000  # half of them all missing, half all zeros
_REFUSED = 3  # the exit status of the child's own verdict; Python itself exits with 1 or 2
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
_MAX_MESSAGE = 2000
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "Failed to allocate memory")  # of Python, C++ and ONNX Runtime
_MIB = 1024 * 1024
_OWN_MEMORY = 192 * _MIB  # Python and ONNX Runtime reserve 90
_MEMORY_PER_BYTE = 24  # of a graph; a forest takes 20 while it is loaded
_SPARE_MEMORY = 64 * _MIB  # of the container, for what this process allocates meanwhile


@dataclass(slots=True)
class Rehearsal:
    """A child process of low priority that has ``seconds`` seconds and ``memory_bytes`` bytes of memory.

    By default it has the memory that a forest of the largest graph's size takes. It never has more than the container
    has left, which ``cgroup`` says, the folder of its control group (version 2).
    """

    seconds: float
    memory_bytes: int | None = None
    command: Sequence[str] = (sys.executable, "-P", "-c", _PROGRAM)
    cgroup: Path = Path("/sys/fs/cgroup")
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def run(self, bundle: Bundle) -> None:
        """Return once the child has scored a batch with each graph of the bundle; blocks until then.

        Raises:
            UnusableModelError: It could not, or has crashed.
            UnfinishedRehearsalError: It was too slow, lacked memory of the container, was killed from outside or could
                not start; another attempt may succeed.
        """
        model, graphs = bundle.manifest.model, (bundle.model, *bundle.horizons.values())
        sizes = [len(graph) for graph in graphs]
        wanted = self.memory_bytes or _OWN_MEMORY + _MEMORY_PER_BYTE * max(sizes)
        memory = int(min(wanted, self._available_memory()))
        if memory < (least := min(wanted, _OWN_MEMORY)):
            raise UnfinishedRehearsalError(
                f"{bundle.digest}: the rehearsal takes {least / _MIB:.0f} MiB of memory; {memory / _MIB:.0f} are left"
            )
        task = {
            "memory_bytes": memory,
            "seconds": math.ceil(self.seconds) + 1,
            "sizes": sizes,
            "input_name": model.input,
            "output_name": model.output,
            "input_names": bundle.manifest.input_names,
        }
        status, message = self._run_child(
            bundle.digest, b"".join((json.dumps(task).encode(), b"\n", *graphs))
        )
        if status == 0:
            return
        is_final = status == _REFUSED or -status in _CRASHES
        if is_final and any(each in message for each in _OUT_OF_MEMORY):
            message = f"it takes more than {memory / _MIB:.0f} MiB of memory ({message})"
            is_final = memory == wanted
        ending = f"was killed by {signal.Signals(-status).name}" if status < 0 else "has failed"
        failure = UnusableModelError if is_final else UnfinishedRehearsalError
        raise failure(f"{bundle.digest}: the rehearsal {ending}: {message or f'exit status {status}'}")

    def stop(self) -> None:
        """Kill the child, and start no other; called from another thread than ``run``."""
        self._stopping.set()
        if (child := self._child) is not None:
            child.kill()

    def _available_memory(self) -> float:
        """Return the bytes that the container and this process's hard limit leave for the child."""
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        available = math.inf if hard == resource.RLIM_INFINITY else hard
        try:
            maximum = (self.cgroup / "memory.max").read_text().strip()
            used = int((self.cgroup / "memory.current").read_text())
            usage = dict(line.split() for line in (self.cgroup / "memory.stat").read_text().splitlines())
        except FileNotFoundError:
            return available
        if maximum == "max":
            return available
        # The kernel drops inactive pages of files before it kills.
        return min(available, int(maximum) - used + int(usage["inactive_file"]) - _SPARE_MEMORY)

    def _run_child(self, digest: str, data: bytes) -> tuple[int, str]:
        """Return the child's exit status, and its own message or the end of its standard error."""
        if self._stopping.is_set():
            raise UnfinishedRehearsalError(f"{digest}: the process is stopping")
        reader, writer = os.pipe()
        os.set_blocking(writer, False)  # what exceeds the pipe's capacity is dropped
        with open(reader, "rb") as errors, open(writer, "wb") as stderr:
            try:
                child = subprocess.Popen(
                    [*self.command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=_environment(),
                )
            except OSError as error:
                raise UnfinishedRehearsalError(f"{digest}: the rehearsal cannot start: {error}") from error
            stderr.close()
            self._child = child
            with child:
                try:
                    if self._stopping.is_set():
                        child.kill()
                    stdout, _ = child.communicate(data, self.seconds)
                except subprocess.TimeoutExpired:
                    raise UnfinishedRehearsalError(
                        f"{digest}: the rehearsal has exceeded {self.seconds:g} s"
                    ) from None
                finally:
                    child.kill()
                    self._child = None
            message = stdout if child.returncode == _REFUSED else errors.read()[-_MAX_MESSAGE:]
        return child.returncode, message.decode(errors="replace").strip()


def rehearse() -> None:
    """As the child: score a batch with each graph on the standard input; exits with 3 and the reason of a refusal."""
    die_with_parent()
    task = json.loads(sys.stdin.buffer.readline())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (task["memory_bytes"],) * 2)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    seconds = task["seconds"] if hard == resource.RLIM_INFINITY else min(task["seconds"], hard)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    # The runtime's own memory counts too. A runtime that cannot be imported says nothing about the model.
    from reprise.bundle.scorer import Scorer  # noqa: PLC0415

    names = task["input_names"]
    rows = np.zeros((_ROWS, len(names)), np.float32)
    rows[::2] = np.nan
    try:
        for size in task["sizes"]:
            # Each is freed before the next one is loaded.
            graph = sys.stdin.buffer.read(size)
            Scorer(graph, task["input_name"], task["output_name"], names).score(rows)
            del graph
    except Exception as error:  # noqa: BLE001
        # The exception classes of ONNX Runtime share no base class.
        sys.stdout.write(f"{type(error).__name__}: {error}".strip()[:_MAX_MESSAGE])
        sys.exit(_REFUSED)


def _environment() -> dict[str, str]:
    """Return what the child has of the environment: no password. Each thread of OpenBLAS reserves memory."""
    names = ("LD_LIBRARY_PATH", "PYTHONPATH")
    return {"OPENBLAS_NUM_THREADS": "1"} | {name: os.environ[name] for name in names if name in os.environ}
