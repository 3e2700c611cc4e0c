"""How to reach Kafka, and what its client's errors mean to us."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from kafka import errors

from reprise.log.exceptions import (
    EventLogError,
    LogUnavailableError,
    NotAssignedError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
)
from reprise.log.settings import KafkaAccessSettings

_REQUEST_SECONDS = 10.0
_RECONNECT_SECONDS = 2.0
_LOST_MEMBERSHIP = (
    errors.CommitFailedError,
    errors.FencedInstanceIdError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
)

T = TypeVar("T")


def client_options(settings: KafkaAccessSettings) -> dict[str, Any]:
    """Return what every Kafka client of this process is made with.

    Raises:
        ValueError: The settings name no servers.
    """
    if settings.kafka_servers is None:
        raise ValueError("KAFKA_SERVERS is not set")
    logger = logging.getLogger("kafka")
    if logger.level == logging.NOTSET:
        # at the level "info" the client tells of every connection and every request to join
        logger.setLevel(logging.WARNING)
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.kafka_servers.split(",")],
        "client_id": settings.kafka_client_id,
        "security_protocol": settings.kafka_security_protocol,
        "bootstrap_timeout_ms": int(settings.kafka_connect_seconds * 1000),
        "request_timeout_ms": int(_REQUEST_SECONDS * 1000),
        "reconnect_backoff_max_ms": int(_RECONNECT_SECONDS * 1000),
    }
    if settings.kafka_ca_file is not None:
        options["ssl_cafile"] = str(settings.kafka_ca_file)
    if settings.kafka_security_protocol.startswith("SASL") and settings.kafka_password is not None:
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_username
        options["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return options


def connect(
    client: Callable[..., T], options: dict[str, Any], settings: KafkaAccessSettings, doing: str
) -> T:
    """Return a client that has reached Kafka.

    Raises:
        LogUnavailableError: It did not; with the reason, which the client only logs.
    """
    complaints = _LastComplaint(logging.WARNING)
    logger = logging.getLogger("kafka.net")
    logger.addHandler(complaints)
    try:
        return client(**options)
    except (errors.KafkaError, OSError) as error:
        last = f" (it logged: {complaints.text})" if complaints.text else ""
        raise LogUnavailableError(f"{converted(error, settings, doing)}{last}") from error
    finally:
        logger.removeHandler(complaints)


def converted(error: Exception, settings: KafkaAccessSettings, doing: str) -> EventLogError:
    """Return our error for one of the Kafka client's, saying where and while doing what it happened."""
    message = f"Kafka at {settings.kafka_servers}: {doing}: {describe(error)}"
    if isinstance(error, _LOST_MEMBERSHIP):
        return NotAssignedError(message)
    if isinstance(error, errors.OffsetOutOfRangeError | errors.LogTruncationError):
        return OffsetOutOfRangeError(message)
    if isinstance(error, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError):
        return RecordTooLargeError(message)
    return LogUnavailableError(message)


def missing_topic(settings: KafkaAccessSettings, topic: str) -> LogUnavailableError:
    """Return the error for a declared topic that Kafka lacks."""
    return LogUnavailableError(
        f"Kafka at {settings.kafka_servers}: there is no topic {topic!r}; create it with: reprise topics"
    )


def describe(error: Exception) -> str:
    """Return an error's kind and text in one line."""
    text = str(error).strip()
    name = type(error).__name__
    if not text or text == name:
        return name
    return text if text.startswith(name) else f"{name}: {text}"


class _LastComplaint(logging.Handler):
    """Keeps the most telling warning: a refusal rather than what follows from it."""

    text: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message that names an error."""
        message = record.getMessage()
        if "Error" not in message or "KafkaTimeoutError" in message:
            return
        # a lost connection follows from what came before it
        if self.text is None or "KafkaConnectionError" not in message:
            self.text = message
