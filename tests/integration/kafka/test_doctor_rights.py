"""The doctor on a Kafka that keeps to its rules, with no more of them than the documentation asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from reprise.log import TOPICS, LogRefusedError
from reprise.log.backend import describe_log, inspect_topics
from support.kafka import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def guarded(secured_kafka: Any) -> Any:
    """The broker with the doctor's rights; ``half-doctor`` may not ask for settings."""
    _allow(secured_kafka.broker, "doctor", [ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS])
    _allow(secured_kafka.broker, "half-doctor", [ACLOperation.DESCRIBE])
    return secured_kafka


def _allow(broker: KafkaBroker, user: str, operations: Sequence[ACLOperation]) -> None:
    topics = ResourcePattern(ResourceType.TOPIC, "ecommerce-", ACLResourcePatternType.PREFIXED)
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    try:
        made = admin.create_acls(
            [ACL(f"User:{user}", "*", each, ACLPermissionType.ALLOW, topics) for each in operations]
        )
        assert made["failed"] == []
    finally:
        admin.close()


def test_the_rights_of_the_documentation_are_enough(guarded: Any) -> None:
    assert "| `reprise doctor` | `DESCRIBE`, `DESCRIBE_CONFIGS`," in (ROOT / "docs/kafka.md").read_text()
    assert describe_log(guarded.settings("doctor")) == f"Kafka at {guarded.address}, brokers: 1"
    assert all(state.is_as_declared for state in inspect_topics(guarded.settings("doctor"), TOPICS))


def test_a_user_who_may_not_ask_for_settings_is_told_which_right_is_missing(guarded: Any) -> None:
    with pytest.raises(LogRefusedError, match="the user needs DESCRIBE_CONFIGS"):
        inspect_topics(guarded.settings("half-doctor"), TOPICS)
