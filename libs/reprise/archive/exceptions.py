"""Errors of this package."""

from collections.abc import Sequence

from reprise.runtime.exceptions import RepriseError


class OfflineStoreError(RepriseError):
    """Root of this package's errors."""


class SegmentGoneError(OfflineStoreError):
    """A compaction has replaced a segment since it was listed."""

    def __init__(self, location: str) -> None:
        super().__init__(f"{location} was removed while the store was read")


class UserErasedError(SegmentGoneError):
    """A user was erased since the store was listed: what was read may have half of the user's events."""

    def __init__(self, location: str) -> None:
        OfflineStoreError.__init__(self, f"a user was erased from {location} since it was read")


class CorruptSegmentError(OfflineStoreError):
    """A segment does not match its name."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: {reason}")


class MissingRecordsError(OfflineStoreError):
    """The offline store lacks records of the log before ones that it has."""

    def __init__(self, topic: str, gaps: Sequence[str]) -> None:
        shown = "; ".join(gaps[:5]) + (f"; and {len(gaps) - 5} more" if len(gaps) > 5 else "")
        super().__init__(
            f"the offline store lacks records of {topic} that came before others it has: {shown}."
            " If they are no longer available, accept the gaps: reprise archive --accept-holes"
        )


class EmptyStoreError(OfflineStoreError):
    """The offline store has no record of a topic."""
