"""Histories of events as the log carries them, and what the batch executor makes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.events import Event, encode_event
from reprise.features.executors.batch import BatchExecutor
from reprise.features.plan import EntityPlan, Plan
from reprise.log import Record
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import OnlineStore, StoredRow

PLAN_FILE = Path(__file__).parents[2] / "feature_repo/plan/plan.json"
PROJECT = "reprise"
States = dict[tuple[str, ...], list[Any]]
"""An entity's states by its ids."""
BatchStates = dict[str, States]
_START_US = 1_767_225_600_000_000
_MAX_HOURS = 7_000  # Until October 2026: events of the future are refused


def make_events(count: int, *, users: int = 12, products: int = 8, seed: int = 0) -> list[Event]:
    """Random views and purchases, some at one instant, some purchases without an amount, roughly in order."""
    rng = np.random.default_rng(seed)
    hours = min(max(2, count // 2), _MAX_HOURS)
    instants = np.sort(rng.integers(0, hours, count)) * 3_600_000_000
    events = []
    for at in range(count):
        purchase = rng.random() < 0.4
        amount = float(np.round(10 ** rng.uniform(-2, 4), 2)) if purchase and rng.random() < 0.9 else None
        events.append(
            Event(
                event_id=f"{seed}-{at}",
                user_id=f"u{rng.integers(users)}",
                product_id=f"p{rng.integers(products)}",
                event_type="purchase" if purchase else "view",
                timestamp_us=_START_US + int(instants[at]),
                amount=amount,
            )
        )
    return events


def as_partitions(events: Sequence[Event], partitions: int) -> dict[int, list[Record]]:
    """Spread events over partitions by user, as the log does, offsets dense from 0."""
    spread: dict[int, list[Record]] = {at: [] for at in range(partitions)}
    for event in events:
        key = event.user_id.encode()
        partition = sum(key) % partitions
        offset, appended_ms = len(spread[partition]), event.timestamp_us // 1000
        spread[partition].append(Record(partition, offset, appended_ms, key, encode_event(event)))
    return spread


def refuse_none(refused: Sequence[object]) -> None:
    """Fail where a fold refuses a record."""
    assert list(refused) == []


def event_table(events: Sequence[Event]) -> pa.Table:
    """Events as the canonical table."""
    return pa.table(
        {
            "event_id": [e.event_id for e in events],
            "user_id": [e.user_id for e in events],
            "product_id": [e.product_id for e in events],
            "event_type": [e.event_type for e in events],
            "amount": pa.array([e.amount for e in events], pa.float64()),
            "timestamp": pa.array([e.timestamp_us for e in events], pa.timestamp("us", "UTC")),
            "metadata": pa.nulls(len(events), pa.string()),
        }
    )


def read_events(path: Path) -> list[Event]:
    """The events of a canonical file."""
    columns = ["event_id", "user_id", "product_id", "event_type", "timestamp", "amount"]
    table = pq.read_table(path, columns=columns)
    table = table.set_column(4, "timestamp", table["timestamp"].cast("int64"))
    return [Event(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def batch_states(plan: Plan, events: Sequence[Event]) -> BatchStates:
    """The batch executor's final states by entity and ids."""
    with BatchExecutor(plan) as executor:
        executor.load_events(event_table(events))
        return {entity.name: entity_states(executor, entity) for entity in plan.entities}


def entity_states(executor: BatchExecutor, entity: EntityPlan) -> States:
    """One entity's states by its ids, after all the events that an executor has loaded."""
    rows = [row for batch in executor.final_states(entity.name) for row in batch.to_pylist()]
    return {
        tuple(row[key] for key in entity.view.join_keys): [row[field.name] for field in entity.view.fields]
        for row in rows
    }


def assert_store_holds(store: OnlineStore, plan: Plan, states: BatchStates) -> int:
    """Compare every stored row with the batch executor's, and return how many numbers were compared."""
    compared = 0
    for entity in plan.entities:
        codec = ViewCodec(PROJECT, entity.view)
        expected = states[entity.name]
        keys = [codec.key(*ids) for ids in expected]
        rows = store.read([(codec, key) for key in keys])
        for ids, row in zip(expected, rows, strict=True):
            assert row.exists, f"{entity.name} {ids} is not in the store"
            _assert_equal(entity.view.name, ids, [f.name for f in entity.view.fields], row, expected[ids])
            compared += len(row.state)
    return compared


def _assert_equal(
    view: str, ids: tuple[str, ...], names: Sequence[str], row: StoredRow, state: list[Any]
) -> None:
    lists = [(at, value) for at, value in enumerate(state) if isinstance(value, bytes)]
    stored = [(at, value) for at, value in enumerate(row.state) if isinstance(value, bytes)]
    assert stored == lists, f"{view} {ids}: stored {stored}, batch {lists}"
    found, expected = (
        np.array([0.0 if isinstance(value, bytes) else value for value in values], dtype=np.float64)
        for values in (row.state, state)
    )
    scale = np.maximum(np.nan_to_num(np.abs(expected)), 1.0)
    scale[[at for at, name in enumerate(names) if name.endswith("_m2")]] *= 1e3
    wrong = (np.isnan(found) != np.isnan(expected)) | (np.abs(found - expected) > 1e-9 * scale)
    assert not wrong.any(), [
        f"{view} {ids} {names[int(at)]}: stored {found[at]}, batch {expected[at]}"
        for at in np.flatnonzero(wrong)
    ]
