"""The rehearsal of a bundle: a child process loads its graphs and scores a batch, before this process does.

A graph that crashes ONNX Runtime, does not return, or takes too much memory then does so in the child alone.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.bundle.bundle import Bundle
from reprise.bundle.exceptions import UnfinishedRehearsalError, UnusableModelError

# Its priority is low before it imports anything.
_PROGRAM = "import os; os.nice(15); from reprise.bundle.rehearsal import rehearse; rehearse()"
_ROWS = 1000  # half of them all missing, half all zeros
_MAX_MESSAGE = 2000
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory")  # in messages of ONNX Runtime
_MIB = 1024 * 1024
_OWN_MEMORY = 192 * _MIB  # Python and ONNX Runtime reserve 90
_MEMORY_PER_BYTE = 24  # of a graph; a forest takes 20 while it is loaded
# Each thread of OpenBLAS reserves memory. The child has nothing else of the environment, such as a password.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"} | {
    name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ
}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A child process of low priority that has ``seconds`` seconds and ``memory_bytes`` bytes of memory.

    By default it has the memory that a forest of the graphs' size takes.
    """

    seconds: float
    memory_bytes: int | None = None
    command: Sequence[str] = (sys.executable, "-I", "-c", _PROGRAM)

    def run(self, bundle: Bundle) -> None:
        """Return once the child has scored a batch with each graph of the bundle; blocks until then.

        Raises:
            UnusableModelError: It could not, or has crashed.
            UnfinishedRehearsalError: It was too slow, or killed from outside; another attempt may succeed.
        """
        model, graphs = bundle.manifest.model, (bundle.model, *bundle.horizons.values())
        sizes = [len(graph) for graph in graphs]
        task = {
            "memory_bytes": self.memory_bytes or _OWN_MEMORY + _MEMORY_PER_BYTE * sum(sizes),
            "sizes": sizes,
            "input_name": model.input,
            "output_name": model.output,
            "input_names": bundle.manifest.input_names,
        }
        try:
            child = subprocess.run(
                [*self.command],
                input=b"".join((json.dumps(task).encode(), b"\n", *graphs)),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self.seconds,
                env=_ENVIRONMENT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnfinishedRehearsalError(
                f"{bundle.digest}: the rehearsal has exceeded {self.seconds:g} s"
            ) from None
        if child.returncode < 0:
            name = signal.Signals(-child.returncode).name
            failure = UnfinishedRehearsalError if child.returncode == -signal.SIGKILL else UnusableModelError
            raise failure(f"{bundle.digest}: the rehearsal was killed by {name}")
        if child.returncode > 0:
            message = child.stdout.decode(errors="replace") or f"exit status {child.returncode}"
            raise UnusableModelError(f"{bundle.digest}: the rehearsal has failed: {message}")


def rehearse() -> None:
    """As the child: score a batch with each graph on the standard input; exits with 1 and the reason of a failure."""
    task = json.loads(sys.stdin.buffer.readline())
    memory = task["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    names = task["input_names"]
    rows = np.zeros((_ROWS, len(names)), np.float32)
    rows[::2] = np.nan
    try:
        # The runtime's own memory counts too.
        from reprise.bundle.scorer import Scorer  # noqa: PLC0415

        for size in task["sizes"]:
            graph = sys.stdin.buffer.read(size)
            Scorer(graph, task["input_name"], task["output_name"], names).score(rows)
    except Exception as error:  # noqa: BLE001
        # The exception classes of ONNX Runtime share no base class.
        message = f"{type(error).__name__}: {error}".strip()[:_MAX_MESSAGE]
        if isinstance(error, MemoryError) or any(each in message for each in _OUT_OF_MEMORY):
            message = f"it takes more than {memory / _MIB:.0f} MiB of memory ({message})"
        sys.stdout.write(message)
        sys.exit(1)
