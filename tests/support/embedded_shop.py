"""An embedded log with its archive, beside a Redis, run by the services' own code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from reprise.archiver.runner import archive_until_idle
from reprise.archiver.settings import ArchiverSettings
from reprise.backfill.main import command
from reprise.events import Event, encode_event
from reprise.log import EVENTS, EventLogSettings, open_consumer, open_producer
from reprise.materializer.runner import fold_until_idle
from reprise.materializer.settings import MaterializerSettings
from support.histories import PLAN_FILE
from support.redis import RedisServer


@dataclass(frozen=True)
class EmbeddedShop:
    """A log and an offline store in a folder, and Redis."""

    folder: Path
    redis: RedisServer

    @property
    def log(self) -> EventLogSettings:
        return EventLogSettings(log_dir=self.folder / "log")

    @property
    def offline(self) -> str:
        return str(self.folder / "offline")

    def append(self, events: Sequence[Event]) -> None:
        self.append_records(EVENTS.name, [(event.user_id, encode_event(event)) for event in events])

    def append_records(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        producer = open_producer(self.log)
        for user_id, value in records:
            producer.append(topic, user_id.encode(), value)
        producer.close(10)

    def archive(self) -> None:
        archive_until_idle(ArchiverSettings(log_dir=self.log.log_dir, offline_store=self.offline), 0.01)

    def fold(self) -> dict[str, int]:
        address = {"redis_host": self.redis.host, "redis_port": self.redis.port}
        settings = MaterializerSettings(log_dir=self.log.log_dir, plan=PLAN_FILE, batch_records=50, **address)
        return fold_until_idle(settings, 0.01)

    def seek_to_the_beginning(self) -> None:
        """What `kafka-consumer-groups --reset-offsets --to-earliest` does."""
        consumer = open_consumer(self.log, EVENTS, "materializer")
        while len(consumer.assignment) < EVENTS.partitions:
            consumer.poll(1, 0.1)
        consumer.commit(dict.fromkeys(range(EVENTS.partitions), 0))
        consumer.close()

    def backfill(self, *options: str, **environment: str) -> Result:
        address = ["--redis-host", self.redis.host, "--redis-port", str(self.redis.port)]
        paths = ["--plan", str(PLAN_FILE), "--log-dir", str(self.log.log_dir)]
        silent = {"REPRISE_PROGRESS": "off", "REPRISE_OFFLINE_STORE": None, **environment}
        return CliRunner(env=silent).invoke(command, [*address, *paths, *options])
