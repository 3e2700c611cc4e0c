"""What the log holds."""

from typing import NamedTuple


class Record(NamedTuple):
    """One record as it is read back.

    Attributes:
        partition: The partition that holds it.
        offset: Its place in the partition; dense, from 0.
        timestamp_ms: When it was appended, milliseconds since 1970-01-01 UTC.
        key: What chose the partition.
        value: The payload.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


class Position(NamedTuple):
    """Where an appended record is."""

    partition: int
    offset: int
