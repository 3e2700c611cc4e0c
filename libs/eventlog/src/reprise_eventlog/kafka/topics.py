"""Making the declared topics in Kafka, and comparing those that exist with their declaration."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource, ConfigResourceType

from reprise_eventlog.kafka.connection import client_options, connect, converted
from reprise_eventlog.settings import KafkaAccessSettings
from reprise_eventlog.topics import Topic


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting in which a topic is not as declared."""

    setting: str
    declared: str
    found: str


@dataclass(frozen=True, slots=True)
class TopicState:
    """What was found, or done, about a declared topic.

    Attributes:
        topic: The declaration.
        missing: It was not there.
        created: It was not there, and is now.
        differences: In what it differs from the declaration; nothing of this was changed.
    """

    topic: Topic
    missing: bool = False
    created: bool = False
    differences: tuple[Difference, ...] = ()


def ensure_topics(
    settings: KafkaAccessSettings,
    topics: Iterable[Topic],
    *,
    replication: int | None = None,
    dry_run: bool = False,
) -> list[TopicState]:
    """Make the topics that are missing, and return how all of them are; those that exist are not changed.

    Args:
        settings: Where Kafka is.
        topics: What to make.
        replication: Copies of each partition; ``None`` for the brokers' own default.
        dry_run: Only look.

    Raises:
        LogUnavailableError: Kafka cannot be reached, or refuses.
    """
    client = connect(KafkaAdminClient, client_options(settings), settings, "connecting")
    try:
        with closing(client) as admin:
            return [_ensure(admin, topic, replication, dry_run) for topic in topics]
    except (errors.KafkaError, OSError) as error:
        raise converted(error, settings, "making topics") from error


def _ensure(admin: KafkaAdminClient, topic: Topic, replication: int | None, dry_run: bool) -> TopicState:
    found = admin.describe_topics([topic.name])[0]
    if found["error_code"] == errors.UnknownTopicOrPartitionError.errno:
        if dry_run:
            return TopicState(topic, missing=True)
        return _create(admin, topic, replication)
    if found["error_code"]:
        raise errors.for_code(found["error_code"])(topic.name)
    return TopicState(topic, differences=_differences(admin, topic, found, replication))


def _create(admin: KafkaAdminClient, topic: Topic, replication: int | None) -> TopicState:
    wanted = {
        "num_partitions": topic.partitions,
        "replication_factor": -1 if replication is None else replication,
        "configs": _configuration(topic),
    }
    try:
        admin.create_topics({topic.name: wanted}, wait_for_metadata=True)
    except errors.TopicAlreadyExistsError:
        # somebody else made it since it was looked for
        found = admin.describe_topics([topic.name])[0]
        return TopicState(topic, differences=_differences(admin, topic, found, replication))
    return TopicState(topic, missing=True, created=True)


def _differences(
    admin: KafkaAdminClient, topic: Topic, found: dict[str, Any], replication: int | None
) -> tuple[Difference, ...]:
    wanted = _configuration(topic)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, list(wanted))
    described = admin.describe_configs([resource], config_filter="all")["topic"][topic.name]
    declared = {"partitions": str(topic.partitions)} | wanted
    actual = {"partitions": str(len(found["partitions"]))}
    actual |= {name: described[name]["value"] for name in wanted}
    if replication is not None:
        declared["replication"] = str(replication)
        actual["replication"] = str(min(len(p["replica_nodes"]) for p in found["partitions"]))
    return tuple(
        Difference(name, value, actual[name]) for name, value in declared.items() if actual[name] != value
    )


def _configuration(topic: Topic) -> dict[str, str]:
    return {
        "cleanup.policy": topic.cleanup,
        "retention.ms": str(topic.retention // timedelta(milliseconds=1)),
    }
