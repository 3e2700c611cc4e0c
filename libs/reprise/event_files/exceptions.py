"""Errors of an import."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reprise.runtime.exceptions import RepriseError

if TYPE_CHECKING:
    from reprise.event_files.report import ImportReport


def inspect_hint(source: Path) -> str:
    """Return the sentence that points to the command which shows how files are read."""
    return f"To see what would be read: reprise inspect {shlex.quote(str(source))}"


@contextmanager
def pointing_to_inspect(source: Path | None, kind: type[RepriseError]) -> Iterator[None]:
    """Add the hint to an error of this kind about a file; without a file the error stays as it is."""
    try:
        yield
    except kind as error:
        if source is None:
            raise
        raise kind(f"{error}\n{inspect_hint(source)}") from None


class EventFilesError(RepriseError):
    """Root of this package's errors; ``source`` is what an import refused, if it did."""

    source: Path | None = None

    def __str__(self) -> str:
        return super().__str__() + (f"\n{inspect_hint(self.source)}" if self.source else "")


class InvalidOptionError(EventFilesError):
    """An import option is invalid."""


class UnreadableFileError(EventFilesError):
    """A file cannot be read, or not with this encoding; ``encoding`` is then one to try."""

    def __init__(self, path: Path, reason: str, encoding: str | None = None) -> None:
        self.encoding = encoding
        super().__init__(f"{path}: {reason}")


class MissingColumnsError(EventFilesError):
    """A file lacks columns of required or mapped fields, or has event types that are not mapped; proposes a mapping.

    ``mapped`` has the column by field that the options give. ``types`` has our type, if it is known, by the values of
    the column that looks like the event type. ``product`` has the columns of quantity and unit price, if the file has
    no column of their product.
    """

    def __init__(
        self,
        path: Path,
        missing: Sequence[str],
        mapped: Mapping[str, str],
        available: Sequence[str],
        guesses: Mapping[str, str],
        types: Mapping[str, str | None],
        product: tuple[str, str] | None,
    ) -> None:
        self.missing = tuple(missing)
        options = [
            f"--column {field}={shlex.quote(guesses.get(field, '<column>'))}"
            for field in dict.fromkeys([*missing, *guesses])
            if field != "amount" or product is None
        ]
        options += [f"--event-type {ours or '<type>'}={shlex.quote(value)}" for value, ours in types.items()]
        hint = ""
        if product is not None:
            options.append(f"--amount-from {shlex.quote('*'.join(product))}")
            hint = f"\nIf {product[1]} is the total of a row, give --column amount={shlex.quote(product[1])}."
        if types:
            unused = [value for value, ours in types.items() if ours not in {"view", "purchase"}]
            if unused:
                hint += f"\nThe delivered features use views and purchases, not {', '.join(unused)}."
            hint += "\nIf instead every row is a purchase, give --purchases-only."
        if not all(any(c.isalpha() for c in name) for name in available):
            hint += "\nIf the first row is data, the file needs a header row; name its columns with --header-names."
        fields = [
            f"{field} (--column {field}={shlex.quote(mapped[field])})" if field in mapped else field
            for field in missing
        ]
        super().__init__(
            f"{path}: no column for {', '.join(fields)}.\n"
            f"The file has: {', '.join(available)}.\n"
            f"Map its columns: {' '.join(options)}{hint}"
        )


class UnusableColumnError(EventFilesError):
    """A column's type does not fit its field."""

    def __init__(self, path: Path, column: str, found: str, expected: str) -> None:
        super().__init__(f"{path}: column {column} is of type {found}; expected {expected}")


class BadRowsError(EventFilesError):
    """Rows are invalid; the report has their number, the reasons and the first of them."""

    def __init__(self, report: "ImportReport") -> None:
        self.report = report
        super().__init__(
            f"{report.bad_rows:,} of {report.rows_read:,} rows are invalid.\n"
            f"{report.render_problems()}\n"
            "Nothing was written. Correct the file, map its columns and values (--column, --event-type, "
            "--timestamp-format), or drop these rows with --on-bad-rows drop."
        )


class NoEventsError(EventFilesError):
    """No row is a valid event."""

    def __init__(self, report: "ImportReport") -> None:
        self.report = report
        problems = f"\n{report.render_problems()}" if report.dropped else ""
        super().__init__(
            f"{', '.join(str(path) for path in report.files)}: no events: "
            f"{report.rows_read:,} rows read, none valid.{problems}"
        )
