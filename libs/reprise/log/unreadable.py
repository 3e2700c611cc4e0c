"""The partitions that a worker stopped reading because their next records cannot be decoded."""

from collections.abc import Callable, Mapping

from reprise.log.exceptions import UnreadableRecordsError
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)


class UnreadablePartitions:
    """Keeps the errors of unreadable partitions; ``show`` is called with their offsets."""

    def __init__(self, show: Callable[[Mapping[int, int]], None]) -> None:
        self._show = show
        self._errors: dict[int, UnreadableRecordsError] = {}

    def add(self, error: UnreadableRecordsError) -> None:
        """Log and show a partition."""
        _log.error("partition_unreadable", reason=str(error))
        self._replace({**self._errors, error.partition: error})

    def update(self, positions: Mapping[int, int]) -> None:
        """Forget the partitions that are not assigned any more, or whose positions are past the records."""
        errors = self._errors.items()
        self._replace({p: each for p, each in errors if p in positions and positions[p] <= each.offset})

    def _replace(self, errors: dict[int, UnreadableRecordsError]) -> None:
        # Never changed in place: another thread reads ``problem``.
        self._errors = errors
        self._show({partition: each.offset for partition, each in errors.items()})

    @property
    def problem(self) -> str | None:
        """The errors, or ``None``."""
        return "; ".join(map(str, self._errors.values())) or None
