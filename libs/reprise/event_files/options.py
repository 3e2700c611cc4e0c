"""Options of an import, and their command line."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

import click

from reprise.events.event import EVENT_TYPE_PATTERN, METADATA_FIELDS_PATTERN
from reprise.sql import MEMORY_LIMIT

FIELDS = ("event_id", "user_id", "product_id", "event_type", "amount", "timestamp", "metadata")
REQUIRED_FIELDS = ("user_id", "product_id", "timestamp")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to read a file of events, as the options of the command line say it.

    ``columns`` has the file's column by field, and ``event_types`` our type by the file's value in lower case. The
    report shows at most ``problem_limit`` problems with row, column and value; its counts are complete.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    event_types: Mapping[str, str] = field(default_factory=dict)
    purchases_only: bool = False
    amount_from: tuple[str, str] | None = None  # Columns of the quantity and of the unit price
    timestamp_format: str | None = None
    timestamp_unit: Literal["auto", "d", "s", "ms", "us", "ns"] = "auto"
    timestamp_origin: datetime | None = None
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"
    header_names: tuple[str, ...] = ()
    on_bad_rows: Literal["refuse", "drop"] = "refuse"
    metadata_fields: tuple[str, ...] = ()  # Members of the metadata, and other columns, that are kept
    problem_limit: int = 20

    def arguments(self) -> list[str]:
        """Return the arguments of the command line that say what differs from the defaults."""
        words = [f"--column {field}={column}" for field, column in self.columns.items()]
        words += [f"--event-type {ours}={theirs}" for theirs, ours in self.event_types.items()]
        words += ["--purchases-only"] if self.purchases_only else []
        values = (
            ("--amount-from", "*".join(self.amount_from or ())),
            ("--timestamp-format", self.timestamp_format),
            ("--timestamp-unit", None if self.timestamp_unit == "auto" else self.timestamp_unit),
            ("--timestamp-origin", self.timestamp_origin and f"{self.timestamp_origin:%Y-%m-%d}"),
            ("--encoding", None if self.encoding == "utf-8" else self.encoding),
            ("--header-names", ",".join(self.header_names)),
            ("--metadata-fields", ",".join(self.metadata_fields)),
            ("--on-bad-rows", None if self.on_bad_rows == "refuse" else self.on_bad_rows),
        )
        words += [f"{option} {value}" for option, value in values if value]
        return [part for word in words for part in word.split(" ", 1)]


def _parse_columns(_context: object, _parameter: object, pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the column by field from ``field=column`` texts, such as ``user_id=customer``."""
    columns: dict[str, str] = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if not column or name not in FIELDS:
            raise click.UsageError(
                f"--column {pair}: expected FIELD=COLUMN, where FIELD is one of {', '.join(FIELDS)}"
            )
        if name in columns:
            raise click.UsageError(f"--column {pair}: {name} is already mapped to {columns[name]}")
        columns[name] = column
    return columns


def _parse_event_types(_context: object, _parameter: object, pairs: tuple[str, ...]) -> dict[str, str]:
    """Return our type by the file's value in lower case from ``type=value`` texts, such as ``purchase=buy``."""
    types: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not value.strip() or re.fullmatch(EVENT_TYPE_PATTERN, name) is None:
            raise click.UsageError(
                f"--event-type {pair}: expected TYPE=VALUE, such as purchase=buy, TYPE a lower-case name"
            )
        key = value.strip().lower()
        if types.setdefault(key, name) != name:
            raise click.UsageError(f"--event-type {pair}: {value} is already mapped to {types[key]}")
    return types


def _parse_product(_context: object, _parameter: object, text: str | None) -> tuple[str, str] | None:
    """Return the two columns of ``quantity*price``."""
    names = [name.strip() for name in (text or "").split("*")]
    if text is not None and (len(names) != 2 or not all(names)):
        raise click.UsageError(f"--amount-from {text}: expected QUANTITY*PRICE, the names of two columns")
    return None if text is None else (names[0], names[1])


def _parse_names(_context: object, _parameter: object, text: str | None) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _parse_fields(context: object, parameter: object, text: str | None) -> tuple[str, ...]:
    if re.fullmatch(METADATA_FIELDS_PATTERN, text or "") is None:
        raise click.UsageError(f"--metadata-fields {text}: expected names of letters, digits, _ and -")
    return _parse_names(context, parameter, text)


memory_limit_option = click.option(
    "--memory-limit",
    default=MEMORY_LIMIT,
    show_default=True,
    help="Memory that DuckDB may use before it spills to disk.",
)
"""The option of DuckDB's memory, received as ``memory_limit``."""

_OPTIONS = (
    click.option(
        "--column",
        "columns",
        multiple=True,
        callback=_parse_columns,
        metavar="FIELD=COLUMN",
        help=f"Column of a field ({', '.join(FIELDS)}), such as user_id=customer. Repeatable."
        "  [default: the field's own name]",
    ),
    click.option(
        "--event-type",
        "event_types",
        multiple=True,
        callback=_parse_event_types,
        metavar="TYPE=VALUE",
        help="The file's value for an event type, such as purchase=buy. Repeatable."
        "  [default: the file's values in lower case]",
    ),
    click.option(
        "--purchases-only",
        is_flag=True,
        help="Take every row as a purchase, although a column looks like an event type.",
    ),
    click.option(
        "--amount-from",
        callback=_parse_product,
        metavar="QUANTITY*PRICE",
        help="Columns of quantity and unit price, whose product is the amount, such as Quantity*UnitPrice."
        " A purchase of a negative quantity is read as an event of type return.",
    ),
    click.option(
        "--timestamp-format",
        metavar="FORMAT",
        help="strptime format of textual timestamps, such as '%m/%d/%Y %H:%M'."
        "  [default: ISO 8601, or numbers since 1970]",
    ),
    click.option(
        "--timestamp-unit",
        type=click.Choice(["auto", "d", "s", "ms", "us", "ns"]),
        default="auto",
        show_default=True,
        help="Unit of numeric timestamps; auto infers it from their magnitude, for the years 1990 to 2099.",
    ),
    click.option(
        "--timestamp-origin",
        type=click.DateTime(["%Y-%m-%d"]),
        metavar="DATE",
        help="Date from which numeric timestamps count; 1899-12-30 for spreadsheets.  [default: 1970-01-01]",
    ),
    click.option(
        "--encoding",
        type=click.Choice(["utf-8", "latin-1", "utf-16"]),
        default="utf-8",
        show_default=True,
        help="Encoding of CSV files.",
    ),
    click.option(
        "--header-names",
        callback=_parse_names,
        metavar="NAME,NAME,...",
        help="Names of the columns of CSV files without a header row.",
    ),
    click.option(
        "--metadata-fields",
        callback=_parse_fields,
        envvar="REPRISE_METADATA_FIELDS",
        show_envvar=True,
        metavar="NAME,NAME,...",
        help="Members of the metadata column, and other columns, that are kept as metadata; others are dropped.",
    ),
    click.option(
        "--on-bad-rows",
        type=click.Choice(["refuse", "drop"]),
        default="refuse",
        show_default=True,
        help="Refuse a file with invalid rows, or drop them and report how many and why.",
    ),
)
_OPTION_NAMES = [each.name for each in fields(ImportOptions) if each.name != "problem_limit"]


def event_file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the import options to a click command.

    The command receives them as ``import_options``, an ``ImportOptions``. An invalid mapping is a usage error.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        import_options = ImportOptions(**{name: kwargs.pop(name) for name in _OPTION_NAMES})
        return command(*args, import_options=import_options, **kwargs)

    decorated: Callable[..., Any] = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
