"""Making the declared topics in Kafka, and comparing those that exist with their declaration."""

import time
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from typing import Any

from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource, ConfigResourceType

from reprise.log.kafka.connection import client_options, connect, converted
from reprise.log.settings import KafkaAccessSettings
from reprise.log.topics import Difference, Topic, TopicState

_LOOKS_FOR_NEW = 25
_PAUSE_SECONDS = 0.2
_LOOKS = 2  # a topic that is gone since it was described is found to be so the second time


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
        raise converted(error, settings, "looking at topics" if dry_run else "making topics") from error


def count_brokers(settings: KafkaAccessSettings) -> int:
    """Return how many brokers there are.

    Raises:
        LogUnavailableError: Kafka cannot be reached, or refuses.
    """
    client = connect(KafkaAdminClient, client_options(settings), settings, "connecting")
    try:
        with closing(client) as admin:
            return len(admin.describe_cluster()["brokers"])
    except (errors.KafkaError, OSError) as error:
        raise converted(error, settings, "asking for the brokers") from error


def _ensure(admin: KafkaAdminClient, topic: Topic, replication: int | None, dry_run: bool) -> TopicState:
    for _ in range(_LOOKS):
        found = admin.describe_topics([topic.name])[0]
        if found["error_code"] == errors.UnknownTopicOrPartitionError.errno:
            if dry_run:
                return TopicState(topic, missing=True)
            return _create(admin, topic, replication)
        if found["error_code"]:
            raise errors.for_code(found["error_code"])(topic.name)
        settings = _settings(admin, topic)
        if settings is not None:
            return TopicState(topic, differences=_differences(topic, found, settings, replication))
    raise errors.TopicAuthorizationFailedError(
        f"{topic.name} does not tell its settings: the user needs DESCRIBE_CONFIGS"
    )


def _create(admin: KafkaAdminClient, topic: Topic, replication: int | None) -> TopicState:
    wanted = {
        "num_partitions": topic.partitions,
        "replication_factor": -1 if replication is None else replication,
        "configs": _configuration(topic),
    }
    try:
        admin.create_topics({topic.name: wanted}, wait_for_metadata=True)
    except errors.TopicAlreadyExistsError:
        return _made_by_another(admin, topic, replication)
    return TopicState(topic, missing=True, created=True)


def _made_by_another(admin: KafkaAdminClient, topic: Topic, replication: int | None) -> TopicState:
    """Return how a topic is that came since it was looked for; a broker may hear of it a moment later."""
    for _ in range(_LOOKS_FOR_NEW):
        state = _ensure(admin, topic, replication, dry_run=True)
        if not state.missing:
            return state
        time.sleep(_PAUSE_SECONDS)
    raise errors.TopicAlreadyExistsError(f"{topic.name} is there and cannot be looked at")


def _settings(admin: KafkaAdminClient, topic: Topic) -> dict[str, str] | None:
    """Return the topic's settings of those that are declared; ``None`` where Kafka does not tell them.

    The client keeps to itself why not: because the user may not know, or because the topic is just being deleted.
    """
    wanted = list(_configuration(topic))
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, wanted)
    described = admin.describe_configs([resource], config_filter="all")["topic"][topic.name]
    if not all(name in described for name in wanted):
        return None
    return {name: described[name]["value"] for name in wanted}


def _differences(
    topic: Topic, found: dict[str, Any], settings: dict[str, str], replication: int | None
) -> tuple[Difference, ...]:
    declared = {"partitions": str(topic.partitions)} | _configuration(topic)
    actual = {"partitions": str(len(found["partitions"]))} | settings
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
