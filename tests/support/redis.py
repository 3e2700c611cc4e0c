"""A real redis-server for the tests that need one."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis

from reprise.cli.demo.processes import free_port
from reprise.store.settings import OnlineStoreSettings
from support.waiting import wait_until

MISSING = "redis-server is not installed"
_START_SECONDS = 60.0


def redis_server_path() -> str | None:
    return shutil.which("redis-server")


@dataclass
class RedisServer:
    """A redis-server without persistence, that can be stopped and started again on the same port."""

    directory: Path
    options: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        path = redis_server_path()
        if path is None:
            raise FileNotFoundError(MISSING)
        log = self.directory / "redis.log"
        command = [path, "--port", str(self.port), "--bind", self.host, "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no", *self.options]
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        give_up = time.monotonic() + _START_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                raise RuntimeError(f"redis-server did not start:\n{log.read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """While inside, the server keeps its connections but does nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> Redis:
        return Redis(host=self.host, port=self.port)

    def settings(self, **more: object) -> OnlineStoreSettings:
        return OnlineStoreSettings.load(**{"redis_host": self.host, "redis_port": self.port, **more})

    def flush(self) -> None:
        """Remove all keys, of a server that a test has stopped too."""
        if not self.is_running:
            self.start()
        with self.client() as client:
            client.flushall()

    def _listens(self) -> bool:
        # A bare connection, because the server may be protected by a password or speak TLS.
        try:
            with socket.create_connection((self.host, self.port), timeout=1):
                return True
        except OSError:
            return False


def fail_to_save(server: RedisServer) -> None:
    """Make the server refuse writes, as one whose disk is full does."""
    (server.directory / "dump.rdb").mkdir()
    with server.client() as client:
        client.config_set("save", "3600 1")
        client.bgsave()
        wait_until(
            "a failed save", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 10, 0.01
        )


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """A fresh server with these further command line options, gone afterwards; skips where there is none."""
    if redis_server_path() is None:
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(prefix="reprise-redis-") as directory:
        server = RedisServer(Path(directory), options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
