"""Where broken events go: a topic of their own, with the reason, so that the stream goes on."""

import base64
from collections.abc import Sequence

import orjson

from reprise.log import DEAD_LETTERS, LogProducer, LogTimeoutError
from reprise.materializer.batch_fold import InvalidRecord


class DeadLetters:
    """Appends broken events to the dead-letter topic."""

    def __init__(self, producer: LogProducer, timeout: float) -> None:
        self._producer = producer
        self._timeout = timeout

    def send(self, topic: str, invalid: Sequence[InvalidRecord]) -> None:
        """Append the records and wait until the log has them; a replay may append them again.

        Raises:
            EventLogError: The log did not take them in time.
        """
        waiting = [
            self._producer.append(DEAD_LETTERS.name, each.record.key, _letter(topic, each))
            for each in invalid
        ]
        for future in waiting:
            try:
                future.result(self._timeout)
            except TimeoutError as error:
                raise LogTimeoutError(
                    f"{DEAD_LETTERS.name}: not acknowledged within {self._timeout:g} s"
                ) from error


def _letter(topic: str, invalid: InvalidRecord) -> bytes:
    """Return the letter: JSON with the reason, the record's place, and its bytes, as text where they are UTF-8."""
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
