"""The dead-letter topic."""

import base64
from collections.abc import Sequence

import orjson

from reprise.log import DEAD_LETTERS, LogProducer, LogTimeoutError
from reprise.materializer.batch_fold import InvalidRecord


class DeadLetters:
    """Appends invalid records to the dead-letter topic."""

    def __init__(self, producer: LogProducer, timeout: float) -> None:
        self._producer = producer
        self._timeout = timeout

    def send(self, topic: str, invalid: Sequence[InvalidRecord]) -> None:
        """Append the records and wait for their acknowledgement; a replay may append them again.

        Raises:
            EventLogError: The log did not acknowledge them in time.
        """
        futures = [
            self._producer.append(DEAD_LETTERS.name, each.record.key, _letter(topic, each))
            for each in invalid
        ]
        for future in futures:
            try:
                future.result(self._timeout)
            except TimeoutError as error:
                raise LogTimeoutError(
                    f"{DEAD_LETTERS.name}: not acknowledged within {self._timeout:g} s"
                ) from error


def _letter(topic: str, invalid: InvalidRecord) -> bytes:
    """Return JSON with the reason, the record's position and its value, as text or base64."""
    record = invalid.record
    letter: dict[str, object] = {
        "reason": invalid.reason,
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
    }
    try:
        letter["value"] = record.value.decode()
    except UnicodeDecodeError:
        letter["value_base64"] = base64.b64encode(record.value).decode()
    return orjson.dumps(letter)
