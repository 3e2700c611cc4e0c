"""Whether predictions were made from the features that the offline store gives for the same user, product and instant.

A sample of the logged predictions is recomputed with the batch executor, and every value compared, with parity's
own tolerance. What differs is looked at once more, because the offline store knows events that the online store did
not know at that moment: an event that was on its way, or that came late. Those predictions are recomputed from the
events in the order of their arrival, as the stream folds them, for every set of events that the store may have held
when it answered. A value that one of these sets explains was right when it was given; one that none of them explains
is a mismatch. Values that are computed from the request, or from other inputs, are computed from the logged ones.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from reprise.features.executors.batch import REQUEST_COLUMNS, BatchExecutor
from reprise.features.feature_functions import FloatArray
from reprise.features.parity.comparison import TOLERANCE, feature_scales
from reprise.features.plan import Plan
from reprise.outcomes.features.in_flight_events import Doubt, explanations
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.archive_snapshot import Gathered
from reprise.runtime.durations import microseconds
from reprise.sql import connect, literal

_EXAMINED = 500
_EXAMPLES = 5
_STORED = ("user", "product", "pair")


@dataclass(frozen=True, slots=True)
class FeatureMismatch:
    """One value that was not what it should have been.

    Attributes:
        feature: The input.
        user_id: The user of the prediction.
        product_id: The product.
        timestamp_us: The instant.
        logged: What the model saw.
        computed: What the offline store gives; NaN is a missing value.
    """

    feature: str
    user_id: str
    product_id: str
    timestamp_us: int
    logged: float
    computed: float


@dataclass(frozen=True, slots=True)
class Consistency:
    """What the check found; counts of values, by feature where they are mappings.

    Attributes:
        predictions: How many predictions were recomputed.
        compared: How many values were compared.
        mismatches: Values that nothing explains.
        in_flight: Values that events explain which were on their way, or late.
        unexamined: Predictions that differ and were not looked at once more, because there were too many; their
            differing values count as mismatches.
        unknown_models: Predictions of models that the model store does not have, which could not be recomputed.
        examples: A few of the mismatches.
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
        """How many values nothing explains."""
        return sum(self.mismatches.values())


def check_consistency(
    connection: Any, gathered: Gathered, plans: Mapping[str, Plan], settings: OutcomesSettings, folder: Any
) -> Consistency:
    """Recompute a sample of the logged predictions.

    Args:
        connection: DuckDB with the view ``predictions``.
        gathered: The events behind it.
        plans: The plan of each model, by digest.
        settings: How many, and how long events may take.
        folder: Where to spill.

    Raises:
        FeatureEngineError: No event makes features.
    """
    sampled = _sample(connection, gathered, settings)
    total = Consistency()
    by_plan: dict[str, tuple[Plan, list[str]]] = {}
    for digest, plan in plans.items():
        by_plan.setdefault(plan.hash, (plan, []))[1].append(digest)
    for plan, digests in by_plan.values():
        rows = sampled.filter(pa.compute.is_in(sampled["digest"], pa.array(digests, pa.string())))
        if rows.num_rows:
            total = _added(total, _check(rows, plan, gathered, settings, folder))
    unknown = sampled.num_rows - total.predictions
    return _added(total, Consistency(unknown_models=unknown))


def _sample(connection: Any, gathered: Gathered, settings: OutcomesSettings) -> pa.Table:
    """Return predictions of the window, drawn evenly by their number, for whose instant the events are archived."""
    return connection.sql(
        f"""
        WITH known AS (
            SELECT *, greatest(answered_us, timestamp_us) AS known_us FROM predictions
            WHERE known_us <= {gathered.complete_until_us}
        )
        SELECT * EXCLUDE (known_us) FROM known
        WHERE known_us > (SELECT max(known_us) FROM known) - {microseconds(settings.check_window)}
        ORDER BY md5(row_id::VARCHAR || {literal(settings.seed)}), row_id LIMIT {settings.check_rows}
        """
    ).to_arrow_table()


def _check(
    rows: pa.Table, plan: Plan, gathered: Gathered, settings: OutcomesSettings, folder: Any
) -> Consistency:
    names = plan.input_names
    logged = _logged(rows, names)
    computed, largest = _computed(rows, plan, gathered, settings, folder)
    scales = feature_scales(plan, names, computed, largest)
    entities = [item.entity for item in plan.inputs]
    own = np.array([entity != "request" for entity in entities])
    computed[:, ~own] = _request_inputs(rows, plan, logged)[:, ~own]
    differs = _differs(logged, computed, scales)
    suspects = np.flatnonzero(differs.any(axis=1))
    examined = suspects[:_EXAMINED]
    explained = np.zeros_like(differs)
    if len(examined):
        with connect(memory_limit=settings.memory_limit, temp_directory=folder / "spill") as connection:
            doubts = [_doubt(rows, int(row), settings) for row in examined]
            for row, answers in zip(
                examined, explanations(connection, gathered.events, plan, doubts), strict=True
            ):
                explained[row] = _explained(entities, logged[row], answers, scales) & differs[row]
    wrong = differs & ~explained
    return Consistency(
        predictions=rows.num_rows,
        compared=int(logged.size),
        mismatches=_by_name(names, wrong),
        in_flight=_by_name(names, explained),
        unexamined=len(suspects) - len(examined),
        examples=_examples(rows, names, logged, computed, wrong),
    )


def _logged(rows: pa.Table, names: Sequence[str]) -> FloatArray:
    features = [orjson.loads(text) for text in rows["features"].to_pylist()]
    # an input that is not there at all is as wrong as a wrong value: infinity equals nothing that can be computed
    values = [[np.inf if (v := row.get(name, np.inf)) is None else v for name in names] for row in features]
    present = [[row.get(name, 0.0) is not None for name in names] for row in features]
    return np.where(present, np.array(values, dtype=np.float64), np.nan)


def _computed(
    rows: pa.Table, plan: Plan, gathered: Gathered, settings: OutcomesSettings, folder: Any
) -> tuple[FloatArray, float]:
    """Return the batch executor's values, and the largest amount of an event."""
    requests = rows.select([name for name in REQUEST_COLUMNS if name != "row_id"])
    requests = requests.add_column(0, "row_id", pa.array(np.arange(rows.num_rows)))
    out = np.full((rows.num_rows, len(plan.inputs)), np.nan)
    with BatchExecutor(plan, memory_limit=settings.memory_limit, temp_directory=folder) as executor:
        executor.load_events(gathered.events)
        for batch, inputs in executor.with_inputs(executor.request_rows(requests)):
            out[batch.column("row_id").to_numpy()] = inputs
    with connect(memory_limit=settings.memory_limit, temp_directory=folder / "spill") as connection:
        [(largest,)] = connection.execute(
            f"SELECT coalesce(max(amount), 0.0) FROM read_parquet({literal(gathered.events)})"
        ).fetchall()
    return out, float(largest)


def _request_inputs(rows: pa.Table, plan: Plan, logged: FloatArray) -> FloatArray:
    """Return the logged values with those of the request computed from the request and the others."""
    out = logged.copy()
    request = {
        name: np.asarray(rows[name].cast("float64").to_numpy(), dtype=np.float64)
        for name in ("amount", "is_purchase")
    }
    index = {name: at for at, name in enumerate(plan.input_names)}
    for item in plan.request_inputs:
        spec = item.finish
        if spec["kind"] == "request":
            out[:, index[item.name]] = request[spec["field"]]
        else:
            numerator, denominator = out[:, index[spec["numerator"]]], out[:, index[spec["denominator"]]]
            divided = np.full(len(out), np.nan)
            np.divide(numerator, denominator, out=divided, where=denominator > 0)
            out[:, index[item.name]] = divided
    return out


def _differs(left: FloatArray, right: FloatArray, scales: FloatArray) -> Any:
    missing = np.isnan(left) | np.isnan(right)
    with np.errstate(invalid="ignore"):
        far = ~(np.abs(np.where(missing, 0.0, left) - np.where(missing, 0.0, right)) <= TOLERANCE * scales)
    return (np.isnan(left) != np.isnan(right)) | (far & ~missing)


def _doubt(rows: pa.Table, row: int, settings: OutcomesSettings) -> Doubt:
    said = rows.slice(row, 1).to_pylist()[0]
    return Doubt(
        user_id=said["user_id"],
        product_id=said["product_id"],
        timestamp_us=said["timestamp_us"],
        answered_us=said["answered_us"],
        in_flight_us=microseconds(settings.in_flight),
    )


def _explained(
    entities: Sequence[str], logged: FloatArray, answers: Iterator[FloatArray], scales: FloatArray
) -> Any:
    """Return, entity by entity, which values the set of events gives that gives the most of them."""
    columns = [np.flatnonzero([each == entity for each in entities]) for entity in _STORED]
    best = [np.zeros(len(chosen), dtype=np.bool_) for chosen in columns]
    for answer in answers:
        given = ~_differs(logged, answer, scales)
        best = [
            given[chosen] if np.count_nonzero(given[chosen]) > np.count_nonzero(known) else known
            for chosen, known in zip(columns, best, strict=True)
        ]
        if all(known.all() for known in best):
            break
    explained = np.zeros(len(logged), dtype=np.bool_)
    for chosen, known in zip(columns, best, strict=True):
        explained[chosen] = known
    return explained


def _by_name(names: Sequence[str], chosen: Any) -> dict[str, int]:
    return {name: int(count) for name, count in zip(names, chosen.sum(axis=0), strict=True) if count}


def _examples(
    rows: pa.Table, names: Sequence[str], logged: FloatArray, computed: FloatArray, wrong: Any
) -> tuple[FeatureMismatch, ...]:
    found = []
    for row, column in np.argwhere(wrong)[:_EXAMPLES].tolist():
        said = rows.slice(row, 1).to_pylist()[0]
        ids = (said["user_id"], said["product_id"], said["timestamp_us"])
        values = (float(logged[row, column]), float(computed[row, column]))
        found.append(FeatureMismatch(names[column], *ids, *values))
    return tuple(found)


def _added(left: Consistency, right: Consistency) -> Consistency:
    return Consistency(
        predictions=left.predictions + right.predictions,
        compared=left.compared + right.compared,
        mismatches=dict(Counter(left.mismatches) + Counter(right.mismatches)),
        in_flight=dict(Counter(left.in_flight) + Counter(right.in_flight)),
        unexamined=left.unexamined + right.unexamined,
        unknown_models=left.unknown_models + right.unknown_models,
        examples=(left.examples + right.examples)[:_EXAMPLES],
    )
