"""Consistency of the logged features with those that the offline store gives for the same prediction.

A sample of the logged predictions is recomputed with the batch executor, and every value compared as parity compares
executors. The offline store may have events that the online store did not have yet, or the reverse: events in flight,
late ones, and those that are stamped with a later time. A value that differs while its user, product or pair had such
an event is excluded, because either value may be right; the share of excluded predictions is reported. A value that
differs without one is a mismatch.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.plan_executor import REQUEST_COLUMNS
from reprise.features.feature_functions import FloatArray
from reprise.features.parity.comparison import Mismatch, batch_inputs, compare, feature_scales
from reprise.features.plan import Plan
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.archive_snapshot import ArchiveSnapshot
from reprise.runtime.durations import microseconds
from reprise.sql import first_of_each_id, literal, numbered_rows

_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class FeatureMismatch:
    """One logged value that differs from the computed one; NaN is a missing value."""

    feature: str
    user_id: str
    product_id: str
    timestamp_us: int
    logged: float
    computed: float


@dataclass(frozen=True, slots=True)
class Consistency:
    """The result of the check: counts of values, by feature if they are mappings."""

    predictions: int = 0  # Predictions recomputed
    compared: int = 0  # Values compared
    # Values that differ although no event was in flight
    mismatches: Mapping[str, int] = field(default_factory=dict)
    # Values that differ and are excluded, because an event may have been in flight
    in_flight: Mapping[str, int] = field(default_factory=dict)
    excluded: int = 0  # Predictions with such a value
    unknown_models: int = 0  # Predictions whose model is not in the model store, which cannot be recomputed
    examples: tuple[FeatureMismatch, ...] = ()  # Some of the mismatches

    @property
    def mismatched(self) -> int:
        """Number of mismatches."""
        return sum(self.mismatches.values())

    @property
    def excluded_share(self) -> float:
        """Share of the predictions with an excluded value."""
        return self.excluded / max(1, self.predictions)

    def __add__(self, other: "Consistency") -> "Consistency":
        return Consistency(
            predictions=self.predictions + other.predictions,
            compared=self.compared + other.compared,
            mismatches=dict(Counter(self.mismatches) + Counter(other.mismatches)),
            in_flight=dict(Counter(self.in_flight) + Counter(other.in_flight)),
            excluded=self.excluded + other.excluded,
            unknown_models=self.unknown_models + other.unknown_models,
            examples=(self.examples + other.examples)[:_EXAMPLES],
        )


def check_consistency(
    connection: Any,
    snapshot: ArchiveSnapshot,
    plans: Mapping[str, Plan],
    settings: OutcomesSettings,
    folder: Path,
) -> Consistency:
    """Recompute a sample of the view ``predictions``, each by the plan of its model's digest.

    Raises:
        FeatureEngineError: No event makes features.
    """
    sample = _sample(connection, snapshot, settings)
    total = Consistency()
    by_hash: dict[str, tuple[Plan, list[str]]] = {}
    for digest, plan in plans.items():
        by_hash.setdefault(plan.hash, (plan, []))[1].append(digest)
    for plan, digests in by_hash.values():
        rows = sample.filter(pc.is_in(sample["digest"], pa.array(digests, pa.string())))
        if rows.num_rows:
            total += _check_plan(connection, rows, plan, snapshot.events, settings, folder)
    return total + Consistency(unknown_models=sample.num_rows - total.predictions)


def _sample(connection: Any, snapshot: ArchiveSnapshot, settings: OutcomesSettings) -> pa.Table:
    """Return a uniform sample of the window's predictions whose events are all archived."""
    return connection.sql(
        f"""
        WITH known AS (
            SELECT *, greatest(answered_us, timestamp_us) AS known_us FROM predictions
            WHERE known_us <= {snapshot.complete_until_us}
        )
        SELECT * EXCLUDE (known_us) FROM known
        WHERE known_us > (SELECT max(known_us) FROM known) - {microseconds(settings.check_window)}
        ORDER BY md5(row_id::VARCHAR || {literal(str(settings.seed))}), row_id LIMIT {settings.check_rows}
        """
    ).to_arrow_table()


def _check_plan(
    connection: Any, rows: pa.Table, plan: Plan, events: Path, settings: OutcomesSettings, folder: Path
) -> Consistency:
    """Check the sampled predictions of one plan; matrices have a row per prediction and a column per input."""
    names = plan.input_names
    rows = rows.drop_columns("row_id").add_column(0, "row_id", pa.array(np.arange(rows.num_rows)))
    logged = _logged_inputs(rows, names)
    computed = _computed_inputs(rows, plan, events, settings, folder)
    [(largest,)] = connection.execute(
        f"SELECT coalesce(max(amount), 0.0) FROM read_parquet({literal(events)})"
    ).fetchall()
    scales = feature_scales(plan, names, computed, float(largest))
    differing = compare("logged and computed", names, logged, computed, scales).mismatches
    in_flight = _entities_in_flight(connection, rows, differing, events, microseconds(settings.in_flight))
    # The request's own values depend on no event, so no event in flight excuses them.
    entities = {i.name: "none" if i.finish["kind"] == "request" else i.entity for i in plan.inputs}
    excluded = [each for each in differing if (each.row, entities[each.feature]) in in_flight]
    mismatches = [each for each in differing if (each.row, entities[each.feature]) not in in_flight]
    return Consistency(
        predictions=rows.num_rows,
        compared=int(logged.size),
        mismatches=dict(Counter(each.feature for each in mismatches)),
        in_flight=dict(Counter(each.feature for each in excluded)),
        excluded=len({each.row for each in excluded}),
        examples=tuple(_example(rows, each) for each in mismatches[:_EXAMPLES]),
    )


def _logged_inputs(rows: pa.Table, names: Sequence[str]) -> FloatArray:
    features = [orjson.loads(text) for text in rows["features"].to_pylist()]
    # An absent input is as wrong as a wrong value: infinity equals nothing that can be computed.
    logged = [[row.get(name, np.inf) for name in names] for row in features]
    return np.array([[np.nan if v is None else v for v in row] for row in logged], dtype=np.float64)


def _computed_inputs(
    rows: pa.Table, plan: Plan, events: Path, settings: OutcomesSettings, folder: Path
) -> FloatArray:
    with BatchExecutor(plan, memory_limit=settings.memory_limit, temp_directory=folder) as executor:
        executor.load_events(events)
        is_purchase = pc.equal(rows["event_type"], plan.purchase_type).cast(pa.float64())
        requests = rows.append_column("is_purchase", is_purchase).select(list(REQUEST_COLUMNS))
        return batch_inputs(executor, plan, requests)


def _entities_in_flight(
    connection: Any, rows: pa.Table, differing: Sequence[Mismatch], events: Path, in_flight_us: int
) -> set[tuple[int, str]]:
    """Return the entities of the differing rows with an event that one store may have had and the other not.

    An event from before the predicted instant may have been missing online if it arrived less than ``in_flight_us``
    before the answer, or later. An event from after that instant may have been online if it arrived before the answer.
    Inputs that are computed from the request may depend on any entity.
    """
    if not differing:
        return set()
    chosen = pa.array(sorted({each.row for each in differing}), pa.int64())
    connection.register("differing", rows.take(chosen))
    joined = f"""
        SELECT row_id, d.user_id = a.user_id AS "user", d.product_id = a.product_id AS product
        FROM differing d JOIN arrived a ON %s WHERE
            (a.ts < timestamp_us AND a.arrived_us > answered_us - {in_flight_us})
            OR (a.ts >= timestamp_us AND a.arrived_us <= answered_us)
    """
    found = connection.execute(
        f"""
        WITH arrived AS (
            SELECT user_id, product_id, epoch_us("timestamp") AS ts, coalesce(epoch_us(arrival), 0) AS arrived_us
            FROM {first_of_each_id(numbered_rows(events))}
        ), possible AS ({joined % "d.user_id = a.user_id"} UNION ALL {joined % "d.product_id = a.product_id"})
        SELECT row_id, bool_or("user"), bool_or(product), bool_or("user" AND product) FROM possible GROUP BY row_id
        """
    ).fetchall()
    connection.unregister("differing")
    places = ("user", "product", "pair")
    entities = {
        (row, name) for row, *flags in found for name, flag in zip(places, flags, strict=True) if flag
    }
    return entities | {(row, "request") for row, *_ in found}


def _example(rows: pa.Table, mismatch: Mismatch) -> FeatureMismatch:
    row = rows.slice(mismatch.row, 1).to_pylist()[0]
    ids = (row["user_id"], row["product_id"], row["timestamp_us"])
    return FeatureMismatch(mismatch.feature, *ids, mismatch.left, mismatch.right)
