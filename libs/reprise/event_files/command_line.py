"""The options of a command that reads files of events, for click."""

import functools
from collections.abc import Callable
from typing import Any

import click

from reprise.event_files.exceptions import InvalidOptionError
from reprise.event_files.options import ColumnMap, ImportOptions, parse_event_types

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
