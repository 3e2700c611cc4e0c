"""Which errors of Kafka's client a retry can help, and which end the process."""

import logging

import pytest
from kafka import errors

from reprise.log import (
    EventLogError,
    EventLogSettings,
    LogRefusedError,
    LogUnavailableError,
    NotAssignedError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
)
from reprise.log.kafka.connection import connect, convert_error

SETTINGS = EventLogSettings.load(kafka_servers="kafka:9092")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.TopicAuthorizationFailedError({"ecommerce-events"}), LogRefusedError),
        (errors.GroupAuthorizationFailedError("materializer"), LogRefusedError),
        (errors.ClusterAuthorizationFailedError(), LogRefusedError),
        (errors.SaslAuthenticationFailedError(), LogRefusedError),
        (errors.CorruptRecordError("batch at offset 7"), LogRefusedError),
        (errors.InvalidTopicError("a b"), LogRefusedError),
        (errors.InvalidSessionTimeoutError(), LogRefusedError),
        (errors.KafkaConfigurationError("group.id"), LogRefusedError),
        # the client raises it too while it does not know the version of a broker that restarts
        (errors.IncompatibleBrokerVersion(), LogUnavailableError),
        (errors.UnknownTopicOrPartitionError(), LogUnavailableError),
        (errors.NotLeaderForPartitionError(), LogUnavailableError),
        (errors.KafkaConnectionError("reset"), LogUnavailableError),
        (errors.KafkaTimeoutError(), LogUnavailableError),
        (errors.UnknownError(), LogUnavailableError),
        (ConnectionResetError("reset by peer"), LogUnavailableError),
        (errors.CommitFailedError(), NotAssignedError),
        (errors.OffsetOutOfRangeError({}), OffsetOutOfRangeError),
        (errors.MessageSizeTooLargeError(), RecordTooLargeError),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
def test_only_errors_that_may_pass_are_retried(error: Exception, expected: type[EventLogError]) -> None:
    converted = convert_error(error, SETTINGS, "ecommerce-events: reading")
    assert type(converted) is expected
    assert str(converted).startswith("Kafka at kafka:9092: ecommerce-events: reading: ")
    assert type(error).__name__ in str(converted)


def test_the_reason_of_a_refused_connection_is_named_although_later_attempts_only_time_out() -> None:
    def client(**_: object) -> None:
        for reason in (
            "KafkaConnectionError: socket disconnected",
            "SaslAuthenticationFailedError: invalid credentials",
            "KafkaConnectionError: socket disconnected",
            "RequestTimedOutError: Request timed out after 21 ms",
        ):
            logging.getLogger("kafka.net.manager").warning("Bootstrap connection failed: %s", reason)
        raise errors.KafkaTimeoutError("Unable to bootstrap")

    with pytest.raises(LogUnavailableError, match="invalid credentials"):
        connect(client, {}, SETTINGS, "connecting a producer")
