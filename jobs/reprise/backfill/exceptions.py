"""Errors of the backfill."""

from reprise.runtime.exceptions import RepriseError


class BackfillError(RepriseError):
    """Root of this package's errors."""


class StateAheadError(BackfillError):
    """Rows include events that the history lacks; overwriting them would lose those."""

    def __init__(self, view: str, rows: int, example: str) -> None:
        self.view = view
        self.rows = rows
        super().__init__(
            f"{rows:,} rows of {view} hold events that this backfill would lose (one holds {example}); let the"
            " archiver catch up and try again, or pass --replace to write over them"
        )


class GroupBusyError(BackfillError):
    """Other consumers of the group hold partitions, so its offsets cannot be set."""

    def __init__(self, group: str, partitions: list[int]) -> None:
        self.group = group
        super().__init__(
            f"partitions {', '.join(map(str, partitions))} are held by other consumers of the group {group};"
            " stop the materializers, and run this again"
        )


class OtherTopicError(BackfillError):
    """The topic was deleted or created again after its last archived record."""

    def __init__(self, topic: str, now: bytes, archived: bytes) -> None:
        super().__init__(
            f"the topic {topic} has the id {now.hex()}, but the last archived records are of {archived.hex()};"
            " the offsets of its group are unchanged"
        )
