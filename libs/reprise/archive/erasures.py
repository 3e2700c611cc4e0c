"""Erasures of users that are not complete yet, and what readers see of an erased user's rows.

::

    <url>/erasures/<erasure id>.json

names the user and the rows to erase, until the files hold none of them any more. Meanwhile whoever reads or writes
segments erases them on the way, so all readers see the same rows whenever they read. Then an empty file
``<erasure id>.done`` replaces it, by which readers notice that a user was erased while they read.

An event of an erased user stays, for the sake of the product's aggregates, with other ids and without metadata. A
prediction or an invalid record becomes a row with the problem ``erased``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from reprise.events.erasure import erased_event_id, erased_user_id
from reprise.log import EVENTS

ERASED = "erased"
"""The problem of a row that is erased."""

DIRECTORY = "erasures"
"""Where the files of erasures are, under the store's URL."""

_PENDING, _DONE = ".json", ".done"


class Erasure(BaseModel):
    """An erasure that is not complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    erasure_id: str
    user_id: str
    salt: str  # Of the replacing ids, hexadecimal
    topic_id: str | None = (
        None  # Position of the record of the erasure in the events topic, the id as UUID text
    )
    partition: int = -1
    offset: int = -1
    erased_at_ms: int = 0  # The same as an instant, for events of other partitions and topics
    first_us: int | None = None  # Times of the user's first and last event in the archive
    last_us: int | None = None
    predictions_until_ms: int | None = None  # Of the last prediction that may know the user; None: of all

    @property
    def path(self) -> str:
        """Its path under the store's URL."""
        return erasure_path(self.erasure_id)


def erasure_path(erasure_id: str, *, done: bool = False) -> str:
    """Return the path of an erasure's file, or of the empty file that says that it is complete."""
    return f"{DIRECTORY}/{erasure_id}{_DONE if done else _PENDING}"


def erasure_ids(paths: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the ids of the erasures with files among these: those that are complete, and the others."""
    names = [
        name for directory, _, name in (path.rpartition("/") for path in paths) if directory == DIRECTORY
    ]
    done, begun = (
        {name.removesuffix(suffix) for name in names if name.endswith(suffix)} for suffix in (_DONE, _PENDING)
    )
    return done, begun - done


def matching_rows(batch: pa.RecordBatch, topic: str, erasure: Erasure) -> pa.Array:
    """Return for each row of a topic whether an erasure erases it."""
    if erasure.topic_id is None:
        return pa.array([False] * batch.num_rows)
    named = pc.fill_null(pc.equal(batch.column("user_id"), erasure.user_id), False)
    raw = batch.column("raw")
    if raw.null_count < len(raw):
        mentions = [value is not None and _mentions(value, erasure.user_id) for value in raw.to_pylist()]
        named = pc.or_(named, pa.array(mentions))
    if not pc.any(named).as_py():
        return named
    stamps = batch.column("log_timestamp").cast(pa.int64())
    if topic != EVENTS.name:
        until = erasure.predictions_until_ms
        return named if until is None else pc.and_(named, pc.less_equal(stamps, until))
    in_partition = pc.and_(
        pc.equal(batch.column("topic_id"), erasure.topic_id),
        pc.equal(batch.column("partition"), erasure.partition),
    )
    is_before = pc.if_else(
        in_partition,
        pc.less_equal(batch.column("offset"), erasure.offset),
        pc.less_equal(stamps, erasure.erased_at_ms),
    )
    return pc.and_(named, is_before)


def relevant(batch: pa.RecordBatch, erasures: Sequence[Erasure]) -> Sequence[Erasure]:
    """Return the erasures whose users a batch may name."""
    if not erasures or batch.column("raw").null_count < batch.num_rows:
        return erasures
    users = set(batch.column("user_id").unique().to_pylist())
    return [each for each in erasures if each.user_id in users]


def erase(batch: pa.RecordBatch, topic: str, erasures: Sequence[Erasure]) -> pa.RecordBatch:
    """Return the rows of a topic without what the erasures erase."""
    for erasure in relevant(batch, erasures):
        mask = matching_rows(batch, topic, erasure)
        if pc.any(mask).as_py():
            batch = _erased(batch, topic, mask, erasure)
    return batch


def _erased(batch: pa.RecordBatch, topic: str, mask: pa.Array, erasure: Erasure) -> pa.RecordBatch:
    rows = [_erased_row(row, topic, erasure) for row in batch.filter(mask).to_pylist()]
    replaced = pa.RecordBatch.from_pylist(rows, schema=batch.schema)
    arrays = [
        pc.replace_with_mask(batch.column(name), mask, replaced.column(name)) for name in batch.schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _erased_row(row: Mapping[str, Any], topic: str, erasure: Erasure) -> dict[str, Any]:
    if topic != EVENTS.name or row["problem"] is not None:
        position = ("topic_id", "partition", "offset", "log_timestamp")
        return {**dict.fromkeys(row), **{name: row[name] for name in position}, "problem": ERASED}
    salt = bytes.fromhex(erasure.salt)
    return {
        **row,
        "user_id": erased_user_id(salt, row["user_id"], row["product_id"]),
        "event_id": erased_event_id(salt, row["event_id"]),
        "metadata": None,
    }


def _mentions(raw: bytes, user_id: str) -> bool:
    """Tell whether an invalid record has a user's id as a value, or anywhere in it if it is no JSON."""
    try:
        values: list[Any] = [orjson.loads(raw)]
    except orjson.JSONDecodeError:
        return user_id.encode(errors="surrogatepass") in raw
    while values:
        value = values.pop()
        if isinstance(value, Mapping):
            values += value.values()
        elif isinstance(value, Sequence) and not isinstance(value, str):
            values += value
        elif str(value) == user_id:
            return True
    return False
