"""Consistency of the logged features with those that the offline store gives for the same prediction.

A sample of the logged predictions is recomputed with the batch executor, and every value compared with parity's
tolerance. The offline store knows events that the online store did not know yet, because they were in flight or late.
So the predictions that differ are recomputed from the events in order of arrival, as the stream folds them, for every
set of events that the online store may have held. A value that one of these sets explains was right; one that none
explains is a mismatch. Values that are computed from the request, or from other inputs, are computed from logged ones.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from reprise.features.executors.batch import REQUEST_COLUMNS, BatchExecutor
from reprise.features.feature_functions import FloatArray
from reprise.features.parity.comparison import TOLERANCE, feature_scales
from reprise.features.plan import Plan
from reprise.outcomes.features.in_flight_events import Discrepancy, possible_inputs
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.archive_snapshot import ArchiveSnapshot
from reprise.runtime.durations import microseconds
from reprise.sql import connect, literal

_MAX_EXAMINED = 500
_EXAMPLES = 5
_STORED = ("user", "product", "pair")


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
    """The result of the check: counts of values, by feature if they are mappings.

    Attributes:
        predictions: Predictions recomputed.
        compared: Values compared.
        mismatches: Values that nothing explains.
        in_flight: Values that events in flight, or late ones, explain.
        unexamined: Predictions that differ but were too many to examine; their differing values are mismatches.
        unknown_models: Predictions whose model is not in the model store, which cannot be recomputed.
        examples: Some of the mismatches.
    """

    predictions: int = 0
    compared: int = 0
    mismatches: Mapping[str, int] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    unexamined: int = 0
    unknown_models: int = 0
    examples: tuple[FeatureMismatch, ...] = ()

    @property
    def mismatched(self) -> int:
        """All values that nothing explains."""
        return sum(self.mismatches.values())

    def __add__(self, other: "Consistency") -> "Consistency":
        return Consistency(
            predictions=self.predictions + other.predictions,
            compared=self.compared + other.compared,
            mismatches=dict(Counter(self.mismatches) + Counter(other.mismatches)),
            in_flight=dict(Counter(self.in_flight) + Counter(other.in_flight)),
            unexamined=self.unexamined + other.unexamined,
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
    """Recompute a sample of the logged predictions.

    Args:
        connection: DuckDB with the view ``predictions``.
        snapshot: Its events.
        plans: The plan of each model, by digest.
        settings: Sample size, and how long events are in flight.
        folder: Where to spill.

    Raises:
        FeatureEngineError: No event makes features.
    """
    sample = _sample(connection, snapshot, settings)
    total = Consistency()
    by_hash: dict[str, tuple[Plan, list[str]]] = {}
    for digest, plan in plans.items():
        by_hash.setdefault(plan.hash, (plan, []))[1].append(digest)
    for plan, digests in by_hash.values():
        rows = sample.filter(pa.compute.is_in(sample["digest"], pa.array(digests, pa.string())))
        if rows.num_rows:
            total += _PlanCheck(rows, plan, snapshot.events, settings, folder).run()
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


class _PlanCheck:
    """The check of the sampled predictions of one plan; arrays have a row per prediction and a column per input."""

    def __init__(
        self, rows: pa.Table, plan: Plan, events: Path, settings: OutcomesSettings, folder: Path
    ) -> None:
        self._rows = rows
        self._plan = plan
        self._events = events
        self._settings = settings
        self._folder = folder
        self._entities = np.array([item.entity for item in plan.inputs])
        self._logged = self._logged_inputs()

    def run(self) -> Consistency:
        logged, names = self._logged, self._plan.input_names
        computed, max_amount = self._computed_inputs()
        scales = feature_scales(self._plan, names, computed, max_amount)
        requested = self._entities == "request"
        computed[:, requested] = self._request_inputs()[:, requested]
        differs = _differs(logged, computed, scales)
        differing_rows = np.flatnonzero(differs.any(axis=1))
        explained = np.zeros_like(differs)
        for row, known in self._explain(differing_rows[:_MAX_EXAMINED], scales):
            explained[row] = known & differs[row]
        mismatched = differs & ~explained
        return Consistency(
            predictions=self._rows.num_rows,
            compared=int(logged.size),
            mismatches=_by_name(names, mismatched),
            in_flight=_by_name(names, explained),
            unexamined=max(0, len(differing_rows) - _MAX_EXAMINED),
            examples=self._examples(computed, mismatched),
        )

    def _logged_inputs(self) -> FloatArray:
        names = self._plan.input_names
        features = [orjson.loads(text) for text in self._rows["features"].to_pylist()]
        # An absent input is as wrong as a wrong value: infinity equals nothing that can be computed.
        logged = [[row.get(name, np.inf) for name in names] for row in features]
        return np.array([[np.nan if v is None else v for v in row] for row in logged], dtype=np.float64)

    def _computed_inputs(self) -> tuple[FloatArray, float]:
        """Return the batch executor's values, and the largest amount of an event."""
        plan, memory_limit = self._plan, self._settings.memory_limit
        requests = self._rows.select([name for name in REQUEST_COLUMNS if name != "row_id"])
        requests = requests.add_column(0, "row_id", pa.array(np.arange(self._rows.num_rows)))
        computed = np.full((self._rows.num_rows, len(plan.inputs)), np.nan)
        with BatchExecutor(plan, memory_limit=memory_limit, temp_directory=self._folder) as executor:
            executor.load_events(self._events)
            for batch, inputs in executor.with_inputs(executor.request_rows(requests)):
                computed[batch.column("row_id").to_numpy()] = inputs
        with connect(memory_limit=memory_limit, temp_directory=self._folder / "spill") as connection:
            [(max_amount,)] = connection.execute(
                f"SELECT coalesce(max(amount), 0.0) FROM read_parquet({literal(self._events)})"
            ).fetchall()
        return computed, float(max_amount)

    def _request_inputs(self) -> FloatArray:
        """Return the logged values, with those of the request computed from the request and the other values."""
        out = self._logged.copy()
        index = {name: at for at, name in enumerate(self._plan.input_names)}
        for item in self._plan.request_inputs:
            spec, column = item.finish, index[item.name]
            if spec["kind"] == "request":
                out[:, column] = np.asarray(self._rows[spec["field"]].cast("float64").to_numpy(), np.float64)
            else:
                numerator, denominator = out[:, index[spec["numerator"]]], out[:, index[spec["denominator"]]]
                ratio = np.full(len(out), np.nan)
                np.divide(numerator, denominator, out=ratio, where=denominator > 0)
                out[:, column] = ratio
        return out

    def _explain(self, rows: Any, scales: FloatArray) -> Iterator[tuple[int, Any]]:
        """Yield which values of each row a possible set of events gives."""
        if not len(rows):
            return
        memory_limit = self._settings.memory_limit
        with connect(memory_limit=memory_limit, temp_directory=self._folder / "spill") as connection:
            discrepancies = [self._discrepancy(int(row)) for row in rows]
            possible = possible_inputs(connection, self._events, self._plan, discrepancies)
            for row, candidates in zip(rows, possible, strict=True):
                yield row, self._best_explanation(self._logged[row], candidates, scales)

    def _best_explanation(
        self, logged: FloatArray, candidates: Iterator[FloatArray], scales: FloatArray
    ) -> Any:
        """Return which values agree with the set of events that explains most of them, entity by entity."""
        columns = [np.flatnonzero(self._entities == entity) for entity in _STORED]
        explained = np.zeros(len(logged), dtype=np.bool_)
        for inputs in candidates:
            agrees = ~_differs(logged, inputs, scales)
            for chosen in columns:
                if np.count_nonzero(agrees[chosen]) > np.count_nonzero(explained[chosen]):
                    explained[chosen] = agrees[chosen]
            if all(explained[chosen].all() for chosen in columns):
                break
        return explained

    def _discrepancy(self, row: int) -> Discrepancy:
        content = self._rows.slice(row, 1).to_pylist()[0]
        names = ("user_id", "product_id", "timestamp_us", "answered_us")
        in_flight_us = microseconds(self._settings.in_flight)
        return Discrepancy(**{name: content[name] for name in names}, in_flight_us=in_flight_us)

    def _examples(self, computed: FloatArray, mismatched: Any) -> tuple[FeatureMismatch, ...]:
        examples = []
        for row, column in np.argwhere(mismatched)[:_EXAMPLES].tolist():
            content = self._rows.slice(row, 1).to_pylist()[0]
            ids = (content["user_id"], content["product_id"], content["timestamp_us"])
            values = (float(self._logged[row, column]), float(computed[row, column]))
            examples.append(FeatureMismatch(self._plan.input_names[column], *ids, *values))
        return tuple(examples)


def _differs(left: FloatArray, right: FloatArray, scales: FloatArray) -> Any:
    missing = np.isnan(left) | np.isnan(right)
    with np.errstate(invalid="ignore"):
        far = ~(np.abs(np.where(missing, 0.0, left) - np.where(missing, 0.0, right)) <= TOLERANCE * scales)
    return (np.isnan(left) != np.isnan(right)) | (far & ~missing)


def _by_name(names: Sequence[str], chosen: Any) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, chosen.sum(axis=0), strict=True) if count}
