"""A real Kafka broker for the tests that need one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from reprise.cli.demo.processes import free_port
from reprise.log import TOPICS, EventLogSettings
from reprise.log.kafka.topics import ensure_topics

_START_SECONDS = 180.0
_JARS_SCRIPT = Path(__file__).parents[2] / ".ci/kafka"


class MissingKafkaError(Exception):
    """What it takes to run a broker is not on this machine."""


def kafka_jars() -> Path:
    """The folder of the broker's jars, fetched when they are not there yet.

    Raises:
        MissingKafkaError: Java or Maven is missing.
    """
    if shutil.which("java") is None:
        raise MissingKafkaError("java is not installed")
    done = subprocess.run([_JARS_SCRIPT], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        raise MissingKafkaError(done.stderr.strip())
    if done.returncode != 0:
        raise RuntimeError(f"{_JARS_SCRIPT} failed:\n{done.stderr}")
    return Path(done.stdout.strip())


@dataclass
class KafkaBroker:
    """A single broker in KRaft mode, that can be ended and started again on the same ports and data."""

    directory: Path
    jars: Path
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    controller_port: int = field(default_factory=free_port)
    extra: Mapping[str, str] = field(default_factory=dict)
    listeners: Sequence[str] = ()
    scram_users: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        return f"{self.host}:{self.port}"

    def settings(self, **more: object) -> EventLogSettings:
        """How to reach it; consumers that died are noticed soon."""
        return EventLogSettings.load(**{"kafka_servers": self.servers, "kafka_session_seconds": 2.0, **more})

    def format(self) -> None:
        """Make the data folder."""
        (self.directory / "server.properties").write_text(
            "".join(f"{name}={value}\n" for name, value in self._properties().items())
        )
        command = ["format", "-t", uuid.uuid4().hex[:22], "-c", str(self.directory / "server.properties")]
        for user, password in self.scram_users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        done = subprocess.run(
            [*self._java("kafka.tools.StorageTool"), *command], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"the storage could not be formatted:\n{done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start the broker, and wait until it answers."""
        log = self.directory / "broker.log"
        command = [*self._java("kafka.Kafka"), str(self.directory / "server.properties")]
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        give_up = time.monotonic() + _START_SECONDS
        while not self._answers():
            if not self.is_running or time.monotonic() > give_up:
                self.kill()
                raise RuntimeError(f"the broker did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the broker at once, as a crash would."""
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
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def reset_topics(self) -> None:
        """Delete the declared topics, with the offsets of their groups, and make them anew."""
        admin = KafkaAdminClient(bootstrap_servers=self.servers)
        try:
            present = set(admin.list_topics()) & {topic.name for topic in TOPICS}
            if present:
                admin.delete_topics(sorted(present))
                while set(admin.list_topics()) & present:
                    time.sleep(0.02)
        finally:
            admin.close()
        ensure_topics(self.settings(), TOPICS)

    def _java(self, main: str) -> list[str]:
        memory = ["-Xmx512m", "-Xms128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        return ["java", *memory, "-cp", f"{self.jars}{os.sep}*", main]

    def _properties(self) -> dict[str, str]:
        clients = [f"PLAINTEXT://{self.servers}", *self.listeners]
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{self.host}:{self.controller_port}",
            "listeners": ",".join([*clients, f"CONTROLLER://{self.host}:{self.controller_port}"]),
            "advertised.listeners": ",".join(clients),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.directory / "data"),
            "num.network.threads": "2",
            "num.io.threads": "2",
            "background.threads": "2",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "default.replication.factor": "1",
            "min.insync.replicas": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "500",
            **self.extra,
        }

    def _answers(self) -> bool:
        admin = None
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.servers, bootstrap_timeout_ms=500)
            return bool(admin.describe_cluster()["brokers"])
        except (KafkaError, OSError, RuntimeError):
            return False
        finally:
            if admin is not None:
                admin.close()


@contextmanager
def running_kafka(extra: Mapping[str, str] | None = None, **more: Any) -> Iterator[KafkaBroker]:
    """A fresh broker without topics, gone afterwards; skips the test on a machine that cannot run one."""
    try:
        jars = kafka_jars()
    except MissingKafkaError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="reprise-kafka-") as directory:
        broker = KafkaBroker(Path(directory), jars, extra=extra or {}, **more)
        broker.format()
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()
