"""Creation of the declared topics in Kafka, and comparison of existing ones with their declaration.

Functions raise ``LogUnavailableError`` where Kafka cannot be reached, ``LogRefusedError`` where it denies access.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource, ConfigResourceType

from reprise.log.kafka.connection import admin_client
from reprise.log.settings import KafkaAccessSettings
from reprise.log.topics import ConfigDifference, Topic, TopicStatus

_RETRIES_AFTER_CREATION = 25
_RETRY_SECONDS = 0.2
_ATTEMPTS = 2  # a topic deleted during the first attempt is found missing in the second


def ensure_topics(
    settings: KafkaAccessSettings,
    topics: Iterable[Topic],
    *,
    replication: int | None = None,
    dry_run: bool = False,
) -> list[TopicStatus]:
    """Create missing topics and return the status of all; existing topics are never changed.

    A ``replication`` of ``None`` is the brokers' default. A dry run creates nothing.
    """
    with admin_client(settings, "inspecting topics" if dry_run else "creating topics") as admin:
        return [_ensure(admin, settings.declared(topic), replication, dry_run) for topic in topics]


def count_brokers(settings: KafkaAccessSettings) -> int:
    """Return the number of brokers."""
    with admin_client(settings, "listing the brokers") as admin:
        return len(admin.describe_cluster()["brokers"])


def _ensure(admin: KafkaAdminClient, topic: Topic, replication: int | None, dry_run: bool) -> TopicStatus:
    for _ in range(_ATTEMPTS):
        found = admin.describe_topics([topic.name])[0]
        if found["error_code"] == errors.UnknownTopicOrPartitionError.errno:
            return TopicStatus(topic, missing=True) if dry_run else _create(admin, topic, replication)
        if found["error_code"]:
            raise errors.for_code(found["error_code"])(topic.name)
        config = _config(admin, topic)
        if config is not None:
            existing = replace(topic, partitions=len(found["partitions"]))
            return TopicStatus(existing, differences=_differences(topic, found, config, replication))
    raise errors.TopicAuthorizationFailedError(
        f"{topic.name}: no access to its configuration; the user needs DESCRIBE_CONFIGS"
    )


def _create(admin: KafkaAdminClient, topic: Topic, replication: int | None) -> TopicStatus:
    declared = {
        "num_partitions": topic.partitions,
        "replication_factor": -1 if replication is None else replication,
        "configs": _declared_config(topic),
    }
    try:
        admin.create_topics({topic.name: declared}, wait_for_metadata=True)
    except errors.TopicAlreadyExistsError:
        # created concurrently; a broker may learn of it a moment later
        for _ in range(_RETRIES_AFTER_CREATION):
            status = _ensure(admin, topic, replication, dry_run=True)
            if not status.missing:
                return status
            time.sleep(_RETRY_SECONDS)
        raise errors.TopicAlreadyExistsError(f"{topic.name} exists but cannot be described") from None
    return TopicStatus(topic, missing=True, created=True)


def _config(admin: KafkaAdminClient, topic: Topic) -> dict[str, str] | None:
    """Return the topic's values of the declared settings.

    ``None`` if Kafka omits them: the user lacks the right, or the topic is being deleted. The client hides which.
    """
    names = list(_declared_config(topic))
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, names)
    described = admin.describe_configs([resource], config_filter="all")["topic"][topic.name]
    if not all(name in described for name in names):
        return None
    return {name: described[name]["value"] for name in names}


def _differences(
    topic: Topic, found: dict[str, Any], config: dict[str, str], replication: int | None
) -> tuple[ConfigDifference, ...]:
    declared, actual = _declared_config(topic), dict(config)
    if len(found["partitions"]) < topic.partitions:
        declared = {"partitions": str(topic.partitions)} | declared
        actual = {"partitions": str(len(found["partitions"]))} | actual
    if replication is not None:
        declared["replication"] = str(replication)
        actual["replication"] = str(min(len(p["replica_nodes"]) for p in found["partitions"]))
    return tuple(
        ConfigDifference(name, value, actual[name])
        for name, value in declared.items()
        if actual[name] != value
    )


def _declared_config(topic: Topic) -> dict[str, str]:
    return {
        "cleanup.policy": topic.cleanup,
        "retention.ms": str(topic.retention // timedelta(milliseconds=1)),
    }
