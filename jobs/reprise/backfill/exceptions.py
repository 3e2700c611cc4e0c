"""Errors of the backfill."""

from reprise.runtime.exceptions import RepriseError


class BackfillError(RepriseError):
    """Root of this package's errors."""


class StateAheadError(BackfillError):
    """Rows hold events that the history does not; writing over them would lose those."""

    def __init__(self, view: str, rows: int, example: str) -> None:
        self.view = view
        self.rows = rows
        super().__init__(
            f"{rows:,} rows of {view} hold events that this backfill would lose (one holds {example}); let the"
            " archiver catch up and try again, or pass --replace to write over them"
        )


class GroupBusyError(BackfillError):
    """The consumer group has other consumers, so its offsets cannot be set."""

    def __init__(self, group: str, partitions: list[int]) -> None:
        self.group = group
        super().__init__(
            f"partitions {', '.join(map(str, partitions))} are held by other consumers of the group {group};"
            " stop the materializers, and run this again"
        )


class OtherTopicError(BackfillError):
    """The archive's last records are of a topic that has been deleted or made anew since."""

    def __init__(self, topic: str, now: bytes, archived: bytes) -> None:
        super().__init__(
            f"the topic {topic} has the id {now.hex()}, but the last archived records are of {archived.hex()};"
            " its group's offsets were left as they are"
        )
