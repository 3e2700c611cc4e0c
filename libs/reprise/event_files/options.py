"""How a file that we did not write is to be understood."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import click

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


_OPTIONS = (
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="FIELD=COLUMN",
        help="The file's column that holds a field: event_id, user_id, product_id, event_type, amount, "
        "timestamp or metadata, such as user_id=customer. Repeat for several.  "
        "[default: the field's own name]",
    ),
    click.option(
        "--event-type",
        "event_types",
        multiple=True,
        metavar="TYPE=VALUE",
        help="What the file calls an event type, such as purchase=buy. Repeat for several.  "
        "[default: the file's values, lower-cased]",
    ),
    click.option(
        "--timestamp-format",
        metavar="FORMAT",
        help="strptime format of textual timestamps, such as '%m/%d/%Y %H:%M'.  "
        "[default: ISO 8601, or numbers since 1970]",
    ),
    click.option(
        "--timestamp-unit",
        type=click.Choice(["auto", "s", "ms", "us", "ns"]),
        default="auto",
        show_default=True,
        help="Unit of numeric timestamps since 1970-01-01 UTC; auto decides by their size.",
    ),
    click.option(
        "--on-bad-rows",
        type=click.Choice(["refuse", "drop"]),
        default="refuse",
        show_default=True,
        help="Refuse a file that has rows which cannot be used, or drop them and say how many and why.",
    ),
)


def event_file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of reading a file of events to a click command.

    The command gets them as one keyword argument, ``import_options``, an ``ImportOptions``. A mapping that
    makes no sense ends the command as a usage error.
    """

    @functools.wraps(command)
    def collected(
        *args: Any,
        columns: tuple[str, ...],
        event_types: tuple[str, ...],
        timestamp_format: str | None,
        timestamp_unit: Any,
        on_bad_rows: Any,
        **kwargs: Any,
    ) -> Any:
        try:
            import_options = ImportOptions(
                columns=ColumnMap.parse(columns),
                event_types=parse_event_types(event_types),
                timestamp_format=timestamp_format,
                timestamp_unit=timestamp_unit,
                on_bad_rows=on_bad_rows,
            )
        except InvalidOptionError as error:
            raise click.UsageError(str(error)) from None
        return command(*args, import_options=import_options, **kwargs)

    decorated: Callable[..., Any] = collected
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
