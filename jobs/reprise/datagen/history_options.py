"""What to generate, and where to write it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise.datagen.exceptions import InvalidPlanError, UnwritableOutputError
from reprise.datagen.table_writer import check_output
from reprise.shop import ShopConfig

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLES = (".csv", ".parquet")
DEFAULT_START = datetime(2026, 1, 1, tzinfo=UTC)
"""Where a history begins unless it is told."""


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """What to generate, and where to write it.

    Attributes:
        out: The events, ``.csv`` or ``.parquet``.
        shop: Size and seed of the shop.
        start: Where the history begins, with a time zone.
        days: Its length in days; or
        events: its exact number of events. One of the two is given.
        horizon: What the truth looks ahead.
        truth: Where to write the truth, ``.csv`` or ``.parquet``.
        report: Where to write the report, ``.html``.
    """

    out: Path
    shop: ShopConfig = field(default_factory=ShopConfig)
    start: datetime = DEFAULT_START
    days: int | None = None
    events: int | None = None
    horizon: timedelta = timedelta(days=30)
    truth: Path | None = None
    report: Path | None = None

    @property
    def start_us(self) -> int:
        """The start in microseconds since 1970-01-01 UTC."""
        return (self.start - _EPOCH) // timedelta(microseconds=1)

    def check(self) -> None:
        """Refuse what cannot be done, before anything is done.

        Raises:
            InvalidPlanError: Days and events are both given or both missing, or out of their range.
            UnwritableOutputError: An output's name or folder is wrong, or two outputs are one file.
        """
        if (self.days is None) == (self.events is None):
            raise InvalidPlanError("give either the days or the events")
        for name, number in (("days", self.days), ("events", self.events)):
            if number is not None and number < 1:
                raise InvalidPlanError(f"{name}: expected at least 1, got {number}")
        if self.start.tzinfo is None:
            raise InvalidPlanError(f"start: expected an instant with a time zone, got {self.start}")
        check_output(self.out, _TABLES)
        outputs = [self.out]
        for path, extensions in ((self.truth, _TABLES), (self.report, (".html",))):
            if path is not None:
                check_output(path, extensions)
                outputs.append(path)
        if len({path.resolve() for path in outputs}) < len(outputs):
            raise UnwritableOutputError(f"{self.out}: two outputs cannot be one file")
