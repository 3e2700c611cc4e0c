"""The rows that a micro-batch changes: read once, merged, and written under the guard of their watermarks."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from reprise.features.executors.fold import Delta
from reprise.features.feature_vector.vectorizer import StateRow
from reprise.runtime.exceptions import RepriseError
from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.view import TICK_US
from reprise.store.online_store import GuardedWrite, StoredRow
from reprise.store.watermarks import Watermarks


class MaterializerError(RepriseError):
    """Root of this package's errors."""


class ContendedRowError(MaterializerError):
    """A row kept changing under a write; the batch is folded again from its start."""

    def __init__(self, view: str, rows: int, attempts: int) -> None:
        self.view = view
        super().__init__(f"{rows} rows of {view} changed {attempts} times while they were being written")


_ATTEMPTS = 20


class RowStore(Protocol):
    """What the materializer needs of the online store."""

    def read(self, rows: Sequence[tuple[ViewCodec, bytes]]) -> list[StoredRow]:
        """Return the rows with these keys."""
        ...

    def write_guarded(self, writes: Sequence[GuardedWrite]) -> list[bool]:
        """Write the rows whose watermarks are as expected, and say which were."""
        ...


class PendingChange(NamedTuple):
    """A change to one row, and the event that makes it."""

    partition: int
    offset: int
    timestamp_us: int
    delta: Delta


@dataclass(frozen=True, slots=True)
class Source:
    """One partition of a topic, by the topic's id."""

    topic: bytes
    partition: int


class RowWriter:
    """Merges changes into the rows of one view.

    Args:
        store: The online store.
        codec: The codec of the view.
        empty: The state of an entity without a row.
        merge: How changes are merged into a state, in their order.
        on_conflict: Called with the number of rows that had changed since they were read.
    """

    def __init__(
        self,
        store: RowStore,
        codec: ViewCodec,
        empty: StateRow,
        merge: Callable[[StateRow, Iterable[Delta]], StateRow],
        on_conflict: Callable[[int], None],
    ) -> None:
        self._store = store
        self._codec = codec
        self._empty = empty
        self._merge = merge
        self._on_conflict = on_conflict

    def key(self, *ids: str) -> bytes:
        """Return the key of the row with these ids."""
        return self._codec.key(*ids)

    def read(self, keys: Sequence[bytes]) -> dict[bytes, StoredRow]:
        """Return the rows with these keys; one that is not there has the empty state."""
        return dict(zip(keys, self._store.read([(self._codec, key) for key in keys]), strict=True))

    def state(self, row: StoredRow) -> StateRow:
        """Return the state that a row holds, or the empty one."""
        return row.state if row.exists else self._empty

    def write(
        self,
        topic: bytes,
        rows: Mapping[bytes, StoredRow],
        changes: Mapping[bytes, Sequence[PendingChange]],
    ) -> None:
        """Merge each row's changes that its watermarks do not cover, and write it if nobody else has meanwhile.

        A row that has changed is read and merged anew: its new watermarks say which changes it still lacks.

        Args:
            topic: The id of the topic that the changes come from.
            rows: The rows as they were read.
            changes: By key, those of one partition in the order of their offsets.

        Raises:
            ContendedRowError: A row kept changing.
            StoreError: The store is away, or refuses.
        """
        current, left = dict(rows), dict(changes)
        for _ in range(_ATTEMPTS):
            writes = {
                key: write
                for key, pending in left.items()
                if (write := self._merged(topic, key, current[key], pending)) is not None
            }
            done = self._store.write_guarded(list(writes.values()))
            lost = [key for key, written in zip(writes, done, strict=True) if not written]
            if not lost:
                return
            self._on_conflict(len(lost))
            left = {key: left[key] for key in lost}
            current = self.read(lost)
        raise ContendedRowError(self._codec.view.name, len(left), _ATTEMPTS)

    def _merged(
        self, topic: bytes, key: bytes, row: StoredRow, pending: Sequence[PendingChange]
    ) -> GuardedWrite | None:
        watermarks = Watermarks.parse(row.watermarks, topic)
        covers = watermarks.covers
        lacking = [change for change in pending if not covers(change.partition, change.offset)]
        if not lacking:
            return None
        holds_from = TICK_US + max([change.timestamp_us for change in lacking])
        return GuardedWrite(
            codec=self._codec,
            key=key,
            expected_watermarks=row.watermarks,
            state=self._merge(self.state(row), [change.delta for change in lacking]),
            watermarks=watermarks.advance({c.partition: c.offset for c in lacking}).to_bytes(),
            event_timestamp_us=max(holds_from, row.event_timestamp_us or holds_from),
            previous=row.state if row.exists else None,
        )


class ChangeSet:
    """Changes by row, in the order in which they are added."""

    def __init__(self) -> None:
        self.by_key: dict[bytes, list[PendingChange]] = defaultdict(list)

    def add(self, key: bytes, change: PendingChange) -> None:
        """Add a change; offsets of one row and partition must rise."""
        self.by_key[key].append(change)
