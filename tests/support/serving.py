"""The predictor as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.redis import free_port

_START_SECONDS = 120.0


class Serving:
    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.log = log
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def wait_until_ready(self, seconds: float = _START_SECONDS) -> None:
        self.wait_for("/ready", 200, seconds)

    def wait_for(self, path: str, status: int, seconds: float = _START_SECONDS) -> None:
        give_up = time.monotonic() + seconds
        seen: object = None
        while seen != status:
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"{path} answered {seen}, not {status}\n{self.log.read_text()}")
            try:
                seen = self.http.get(path).status_code
            except httpx.TransportError as error:
                seen = error
            time.sleep(0.02)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Serving]:
    """Run the ``serve`` command with these variables; its output goes to a file in the folder."""
    port = free_port()
    log = folder / "predictor.log"
    program = "from reprise.predictor.main import command; command()"
    arguments = [sys.executable, "-c", program, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
        running = Serving(process, port, log)
        try:
            yield running
        finally:
            running.http.close()
            process.kill()
            process.wait()
