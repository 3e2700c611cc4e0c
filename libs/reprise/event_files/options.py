"""How a file that we did not write is to be understood."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from reprise.event_files.exceptions import InvalidOptionError

BadRows = Literal["refuse", "drop"]
TimestampUnit = Literal["auto", "s", "ms", "us", "ns"]

_EVENT_TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """For each field of an event, the file's column that holds it; ``None`` means the field's own name."""

    event_id: str | None = None
    user_id: str | None = None
    product_id: str | None = None
    event_type: str | None = None
    amount: str | None = None
    timestamp: str | None = None
    metadata: str | None = None

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> "ColumnMap":
        """Read ``field=column`` texts, such as ``user_id=customer``.

        Raises:
            InvalidOptionError: A text has no ``=``, names no field of an event, or maps a field twice.
        """
        names = [item.name for item in fields(cls)]
        mapped: dict[str, str] = {}
        for pair in pairs:
            name, equals, column = pair.partition("=")
            if not equals or not column or name not in names:
                raise InvalidOptionError(
                    f"--column {pair}: expected FIELD=COLUMN, where FIELD is one of {', '.join(names)}"
                )
            if name in mapped:
                raise InvalidOptionError(f"--column {pair}: {name} is mapped to {mapped[name]} already")
            mapped[name] = column
        return cls(**mapped)

    def column_of(self, name: str) -> str | None:
        """Return the column that was mapped to a field, or ``None`` when none was."""
        column: str | None = getattr(self, name)
        return column


def parse_event_types(pairs: Iterable[str]) -> dict[str, str]:
    """Read ``type=value`` texts, such as ``purchase=buy``; return our type by the file's value, lower-cased.

    Raises:
        InvalidOptionError: A text has no ``=``, the type is no lower-case name, or a value is mapped twice.
    """
    mapped: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not value.strip() or _EVENT_TYPE.fullmatch(name) is None:
            raise InvalidOptionError(
                f"--event-type {pair}: expected TYPE=VALUE, such as purchase=buy, TYPE a lower-case name"
            )
        key = value.strip().lower()
        if mapped.setdefault(key, name) != name:
            raise InvalidOptionError(f"--event-type {pair}: {value} is mapped to {mapped[key]} already")
    return mapped


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to understand a file of events.

    Attributes:
        columns: Which column holds which field.
        event_types: Our event type by the file's value (lower case); other values are taken as they are.
        timestamp_format: strptime format of textual timestamps; ``None`` reads ISO 8601 and epoch numbers.
        timestamp_unit: Unit of numeric timestamps; ``auto`` decides by their magnitude.
        on_bad_rows: ``refuse`` the file when rows cannot be used, or ``drop`` and count them.
        problem_limit: How many problems are shown with row, column and value; the counts are always complete.
    """

    columns: ColumnMap = field(default_factory=ColumnMap)
    event_types: Mapping[str, str] = field(default_factory=dict)
    timestamp_format: str | None = None
    timestamp_unit: TimestampUnit = "auto"
    on_bad_rows: BadRows = "refuse"
    problem_limit: int = 20
