"""Merge and compare-and-set write of the rows that a micro-batch changes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

from reprise.features.executors.fold import Delta
from reprise.features.vectorizer import StateRow
from reprise.runtime.exceptions import RepriseError
from reprise.store.exceptions import UnencodableStateError
from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.view import TICK_US
from reprise.store.online_store import GuardedWrite, OnlineStore, StoredRow
from reprise.store.watermarks import Watermarks

_ATTEMPTS = 20


class ContendedRowError(RepriseError):
    """Rows kept changing during their write; the batch must be folded again."""


class PendingChange(NamedTuple):
    """A change to one row by the event at a log position."""

    partition: int
    offset: int
    timestamp_us: int
    delta: Delta


class RowWriter:
    """Merges changes into the rows of one view.

    ``empty`` is the state of an entity without a row. ``merge`` merges changes into a state, in order. ``on_conflict``
    is called with the number of rows that changed between read and write.
    """

    def __init__(
        self,
        store: OnlineStore,
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
        self.key = codec.key

    def read(self, keys: Sequence[bytes]) -> dict[bytes, StoredRow]:
        """Return the rows with these keys, existing or not."""
        return dict(zip(keys, self._store.read([(self._codec, key) for key in keys]), strict=True))

    def state(self, row: StoredRow) -> StateRow:
        """Return the row's state, or the empty one."""
        return row.state if row.exists else self._empty

    def merge(
        self,
        topic_id: bytes,
        rows: Mapping[bytes, StoredRow],
        changes: Mapping[bytes, Sequence[PendingChange]],
    ) -> dict[bytes, GuardedWrite]:
        """Merge the changes that a row's watermarks do not cover; rows and changes are by key.

        Changes of one partition are in offset order.

        Raises:
            UnencodableStateError: A number of a new state is not finite.
        """
        merged = {key: self._merged(topic_id, key, rows[key], pending) for key, pending in changes.items()}
        return {key: write for key, write in merged.items() if write is not None}

    def write(
        self,
        topic_id: bytes,
        writes: Mapping[bytes, GuardedWrite],
        changes: Mapping[bytes, Sequence[PendingChange]],
    ) -> None:
        """Write merged rows unless they changed since their read.

        A row that changed is read and merged again; its new watermarks show which changes it still lacks.

        Raises:
            UnencodableStateError: A number of a new state is not finite.
            ContendedRowError: A row kept changing.
            StoreError: The store is unavailable or rejects a command.
        """
        for _ in range(_ATTEMPTS):
            written = self._store.write_guarded(list(writes.values()))
            conflicting = [key for key, done in zip(writes, written, strict=True) if not done]
            if not conflicting:
                return
            self._on_conflict(len(conflicting))
            changes = {key: changes[key] for key in conflicting}
            writes = self.merge(topic_id, self.read(conflicting), changes)
        raise ContendedRowError(
            f"{len(changes)} rows of {self._codec.view.name} changed {_ATTEMPTS} times while they were being written"
        )

    def _merged(
        self, topic_id: bytes, key: bytes, row: StoredRow, pending: Sequence[PendingChange]
    ) -> GuardedWrite | None:
        watermarks = Watermarks.parse(row.watermarks, topic_id)
        missing = [change for change in pending if not watermarks.covers(change.partition, change.offset)]
        if not missing:
            return None
        state = self._merge(self.state(row), [change.delta for change in missing])
        numbers = [number if isinstance(number, (int, float)) else 0.0 for number in state]
        if not isfinite(sum(numbers)):
            largest = max(range(len(numbers)), key=lambda at: abs(numbers[at]))
            name = self._codec.view.fields[largest].name
            raise UnencodableStateError(self._codec.view.name, name, numbers[largest], "a finite number")
        valid_from_us = TICK_US + max([change.timestamp_us for change in missing])
        return GuardedWrite(
            codec=self._codec,
            key=key,
            expected_watermarks=row.watermarks,
            state=state,
            watermarks=watermarks.advance({c.partition: c.offset for c in missing}).to_bytes(),
            event_timestamp_us=max(valid_from_us, row.event_timestamp_us or valid_from_us),
            previous=row.state if row.exists else None,
        )
