"""Options, connection and error conversion of the Kafka clients."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from kafka import KafkaAdminClient, errors

from reprise.log.exceptions import (
    EventLogError,
    LogRefusedError,
    LogUnavailableError,
    NotAssignedError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
)
from reprise.log.settings import KafkaAccessSettings

_REQUEST_SECONDS = 10.0
_RECONNECT_SECONDS = 2.0
_RETRY_SECONDS = 0.1
_LOST_MEMBERSHIP = (
    errors.CommitFailedError,
    errors.FencedInstanceIdError,
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
)
_REFUSED = (
    errors.AuthorizationError,
    errors.CorruptRecordError,
    errors.IllegalArgumentError,
    errors.IllegalSaslStateError,
    errors.InconsistentGroupProtocolError,
    errors.InvalidConfigurationError,
    errors.InvalidGroupIdError,
    errors.InvalidPartitionsError,
    errors.InvalidReplicationFactorError,
    errors.InvalidRequestError,
    errors.InvalidRequiredAcksError,
    errors.InvalidSessionTimeoutError,
    errors.InvalidTopicError,
    errors.KafkaConfigurationError,
    errors.PolicyViolationError,
    errors.SaslAuthenticationFailedError,
    errors.SecurityDisabledError,
    errors.UnsupportedCodecError,
    errors.UnsupportedCompressionTypeError,
    errors.UnsupportedForMessageFormatError,
    errors.UnsupportedSaslMechanismError,
)

T = TypeVar("T")


def client_options(settings: KafkaAccessSettings) -> dict[str, Any]:
    """Return the options that all Kafka clients share.

    Raises:
        ValueError: The settings have no bootstrap servers.
    """
    if settings.kafka_servers is None:
        raise ValueError("KAFKA_SERVERS is not set")
    logger = logging.getLogger("kafka")
    if logger.level == logging.NOTSET:
        # at INFO the client logs every connection and every join request
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
    client: Callable[..., T], options: dict[str, Any], settings: KafkaAccessSettings, action: str
) -> T:
    """Return a connected client.

    Raises:
        LogUnavailableError: The connection failed; the message includes the reason, which the client only logs.
    """
    handler = _ConnectionErrorHandler(logging.WARNING)
    logger = logging.getLogger("kafka.net")
    logger.addHandler(handler)
    try:
        return client(**options)
    except (errors.KafkaError, OSError) as error:
        logged = f" (it logged: {handler.text})" if handler.text else ""
        raise LogUnavailableError(f"{convert_error(error, settings, action)}{logged}") from error
    finally:
        logger.removeHandler(handler)


def wait_for_connection(settings: KafkaAccessSettings, look: Callable[[], T]) -> T:
    """Return what ``look`` returns; it is repeated for ``kafka_connect_seconds`` while connections are lost.

    A broker may go away just after a client has connected.
    """
    deadline = time.monotonic() + settings.kafka_connect_seconds
    while True:
        try:
            return look()
        except errors.KafkaConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


@contextmanager
def admin_client(settings: KafkaAccessSettings, action: str) -> Iterator[KafkaAdminClient]:
    """Give an admin client, and convert the errors of its use.

    Raises:
        LogUnavailableError: Kafka cannot be reached.
        LogRefusedError: Kafka denies access, or refuses a request for good.
    """
    client = connect(KafkaAdminClient, client_options(settings), settings, "connecting")
    try:
        with closing(client) as admin:
            yield admin
    except (errors.KafkaError, OSError) as error:
        raise convert_error(error, settings, action) from error


def convert_error(error: Exception, settings: KafkaAccessSettings, action: str) -> EventLogError:
    """Return our error for an error of the Kafka client, with the servers and the failed action."""
    text, name = str(error).strip(), type(error).__name__
    if not text.startswith(name):
        text = f"{name}: {text}" if text else name
    message = f"Kafka at {settings.kafka_servers}: {action}: {text}"
    if isinstance(error, _LOST_MEMBERSHIP):
        return NotAssignedError(message)
    if isinstance(error, errors.OffsetOutOfRangeError | errors.LogTruncationError):
        return OffsetOutOfRangeError(message)
    if isinstance(error, errors.MessageSizeTooLargeError | errors.RecordListTooLargeError):
        return RecordTooLargeError(message)
    if isinstance(error, _REFUSED):
        return LogRefusedError(message)
    return LogUnavailableError(message)


def missing_topic(settings: KafkaAccessSettings, topic: str) -> LogUnavailableError:
    """Return the error for a declared topic that Kafka lacks."""
    return LogUnavailableError(
        f"Kafka at {settings.kafka_servers}: there is no topic {topic!r}; create it with: reprise topics"
    )


class _ConnectionErrorHandler(logging.Handler):
    text: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message that names an error."""
        message = record.getMessage()
        if "Error" not in message or "KafkaTimeoutError" in message:
            return
        # a lost connection and a request without an answer are consequences of an earlier error
        if self.text is None or not any(
            each in message for each in ("KafkaConnectionError", "RequestTimedOutError")
        ):
            self.text = message
