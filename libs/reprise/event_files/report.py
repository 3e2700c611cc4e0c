"""The report of an import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reprise.events import format_timestamp

_MAX_SHOWN_VALUE = 60


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One invalid value, ``None`` if it is missing, and what was expected.

    The row is counted from 1 without the header; the column is ``None`` if the whole row cannot be parsed.
    """

    file: Path
    row: int
    column: str | None
    value: str | None
    reason: str

    def __str__(self) -> str:
        where = f"{self.file.name} row {self.row:,}"
        if self.value is None:
            return f"{where}, {self.column}: {self.reason}"
        shown = repr(self.value)
        if len(shown) > _MAX_SHOWN_VALUE:
            shown = shown[: _MAX_SHOWN_VALUE - 3] + "..."
        return f"{where}, {self.column or 'the row'}: {self.reason}, got {shown}"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import read, wrote, dropped and assumed."""

    files: tuple[Path, ...]
    rows_read: int  # Rows in the files, including unparsable ones
    rows_written: int = 0
    bad_rows: int = 0  # Invalid rows; a row with two problems counts once
    # Number of problems by reason (``user_id: missing``); a row counts for each of its reasons
    dropped: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[RowProblem, ...] = ()  # The first invalid values in file order
    proposal: str | None = None  # What unreadable timestamps look like, and the options that read them
    formats: tuple[str, ...] = ()  # The values of ``--timestamp-format`` that read all of them
    repeated_event_ids: int = 0  # Rows dropped because an earlier row has the same ``event_id``
    cleared_amounts: int = 0  # Amounts of views, which were set to null
    # Events in the result by type; ``users`` and ``products`` are the distinct ones in the result
    event_types: Mapping[str, int] = field(default_factory=dict)
    users: int = 0
    products: int = 0
    # The ``user_id`` and the ``product_id`` with the most events in the result, each with its share
    largest: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    # Earliest timestamp in the result, microseconds since 1970-01-01 UTC; ``last_us`` is the latest
    first_us: int | None = None
    last_us: int | None = None
    notes: tuple[str, ...] = ()  # Assumptions, one sentence each

    def render(self) -> str:
        """Return the report as a few lines of text."""
        name = str(self.files[0]) if len(self.files) == 1 else f"{len(self.files):,} files"
        lines = [f"{self.rows_read:,} rows read from {name}"]
        types = ", ".join(f"{count:,} {kind}" for kind, count in self.event_types.items())
        lines.append(f"{self.rows_written:,} events kept ({types})")
        shares = {name: f" ({value} has {share:.1%})" for name, (value, share) in self.largest.items()}
        users = f"{self.users:,} users{shares.get('user_id', '')}"
        lines.append(f"{users}, {self.products:,} products{shares.get('product_id', '')}")
        if self.first_us is not None and self.last_us is not None:
            lines.append(f"from {format_timestamp(self.first_us)} to {format_timestamp(self.last_us)}")
        if self.bad_rows:
            lines.append(f"{self.bad_rows:,} rows dropped because they are invalid:")
            lines.append(self.render_problems())
        if self.repeated_event_ids:
            lines.append(
                f"{self.repeated_event_ids:,} rows dropped because an earlier row has the same event_id"
            )
        if self.cleared_amounts:
            lines.append(f"{self.cleared_amounts:,} amounts on views set to null")
        lines.extend(f"note: {note}" for note in self.notes)
        return "\n".join(lines)

    def render_problems(self) -> str:
        """Return the counts by reason and the first invalid values as indented lines."""
        lines = [f"  {count:>10,}  {reason}" for reason, count in self.dropped.items()]
        if self.problems:
            total = sum(self.dropped.values())
            shown = len(self.problems)
            lines.append("  All of them:" if shown == total else f"  The first {shown:,} of {total:,}:")
            lines.extend(f"    {problem}" for problem in self.problems)
        if self.proposal:
            lines.append(f"  To read {self.proposal}")
        return "\n".join(lines)
