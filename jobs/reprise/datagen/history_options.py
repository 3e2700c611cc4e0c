"""What to generate, and where to write it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise.runtime.durations import microseconds
from reprise.runtime.exceptions import RepriseError
from reprise.shop import ShopConfig

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TABLES = (".csv", ".parquet")


class DatagenError(RepriseError):
    """Root of this package's errors."""


class UnwritableOutputError(DatagenError):
    """An output cannot be written; says which and why."""


class InvalidOptionsError(DatagenError):
    """The options contradict each other; says how."""


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """What to generate, and where to write it.

    Attributes:
        out: File of the events, ``.csv`` or ``.parquet``.
        shop: Size and seed of the shop.
        start: First instant, with a time zone.
        days: Length in days; or
        events: exact number of events. Exactly one of the two is given.
        horizon: Horizon of the truth.
        truth: File of the truth, ``.csv`` or ``.parquet``.
        report: File of the report, ``.html``.
    """

    out: Path
    shop: ShopConfig = field(default_factory=ShopConfig)
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    days: int | None = None
    events: int | None = None
    horizon: timedelta = timedelta(days=30)
    truth: Path | None = None
    report: Path | None = None

    @property
    def start_us(self) -> int:
        """The start in microseconds since 1970-01-01 UTC."""
        return microseconds(self.start - _EPOCH)

    def check(self) -> None:
        """Check the options before any work is done.

        Raises:
            InvalidOptionsError: Days and events are both given or both missing, or out of their range.
            UnwritableOutputError: An output's name or folder is wrong, or two outputs are one file.
        """
        if (self.days is None) == (self.events is None):
            raise InvalidOptionsError("give either the days or the events")
        for name, number in (("days", self.days), ("events", self.events)):
            if number is not None and number < 1:
                raise InvalidOptionsError(f"{name}: expected at least 1, got {number}")
        if self.start.tzinfo is None:
            raise InvalidOptionsError(f"start: expected an instant with a time zone, got {self.start}")
        wanted = ((self.out, _TABLES), (self.truth, _TABLES), (self.report, (".html",)))
        outputs = [_checked_output(path, extensions) for path, extensions in wanted if path is not None]
        if len({path.resolve() for path in outputs}) < len(outputs):
            raise UnwritableOutputError(f"{self.out}: two outputs cannot be one file")


def _checked_output(path: Path, extensions: tuple[str, ...]) -> Path:
    if path.suffix.lower() not in extensions:
        raise UnwritableOutputError(f"{path}: the name should end in {' or '.join(extensions)}")
    if not path.parent.is_dir():
        raise UnwritableOutputError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UnwritableOutputError(f"{path}: is a folder")
    return path
