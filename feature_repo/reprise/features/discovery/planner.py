"""Plans features: discover, compile, select on a sample of events, and write the plan."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reprise.evaluation.time_split import split_by_time
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import parse_timestamp
from reprise.features.discovery.candidates import Candidate, Discovery, assemble, discover
from reprise.features.discovery.definition import Definition
from reprise.features.discovery.entity_set import TARGETS
from reprise.features.discovery.featuretools_compat import ft, suppress_warnings
from reprise.features.discovery.selection import Selection, select
from reprise.features.exceptions import DefinitionError, NotEnoughEventsError
from reprise.features.plan import Plan
from reprise.features.training_rows import build_training_rows
from reprise.runtime.files import atomic_write
from reprise.shop import EVENT_TYPES, Shop, ShopConfig
from reprise.shop.config import DAY_US

_SAMPLE_START_US = parse_timestamp("2026-01-01T00:00:00Z")


@dataclass(frozen=True)
class PlanningResult:
    """A plan, and the discovery and selection behind it."""

    plan: Plan
    discovery: Discovery
    selection: Selection


def make_plan(
    definition: Definition, events: Path, horizon: timedelta, until: datetime | None = None
) -> PlanningResult:
    """Discover features, select among them on these events, and assemble the plan.

    ``events`` is a sample of history, canonical Parquet. Features are ranked by the label of the horizon, on the rows
    before ``until``, so that a model is not judged on what chose its inputs.

    Raises:
        DefinitionError: The definition is inconsistent.
        NotEnoughEventsError: The events are too few for a selection.
    """
    discovery = discover(definition)
    full_plan = assemble(definition, discovery.candidates)
    with TemporaryDirectory(prefix="reprise-plan-") as folder:
        rows = Path(folder) / "rows.parquet"
        build_training_rows(events, rows, full_plan, horizon)
        inputs = [c for c in discovery.candidates if not c.operand]
        names = [c.name for c in inputs]
        table = pq.read_table(rows, columns=[*names, "label", "timestamp"])
    if until is not None:
        table = table.filter(pc.less(table.column("timestamp"), pa.scalar(until)))
    labelled = table.filter(table.column("label").is_valid())
    if labelled.num_rows == 0:
        raise NotEnoughEventsError(
            f"the history is shorter than the horizon of {horizon}, or begins after --until: nothing is labelled"
        )
    values = np.column_stack([labelled.column(name).to_numpy() for name in names])
    selection = select(
        inputs,
        values,
        labelled.column("label").to_numpy().astype(bool),
        max_inputs=definition.max_inputs,
        duplicate_correlation=definition.duplicate_correlation,
    )
    kept = [c for c in discovery.candidates if c.operand or c in selection.kept]
    return PlanningResult(assemble(definition, kept), discovery, selection)


def end_of_training(events: Path, horizon: timedelta) -> datetime:
    """Return until when the trainer's evaluated model would learn from these events, canonical Parquet.

    Raises:
        HistoryTooShortError: They are too short a history to train on.
    """
    instants = pc.min_max(pq.read_table(events, columns=["timestamp"]).column("timestamp").cast(pa.int64()))
    split = split_by_time(instants["min"].as_py(), instants["max"].as_py(), horizon)
    return datetime.fromtimestamp(split.train.end_us // 1_000_000, UTC)


def write_plan(result: PlanningResult, folder: Path) -> list[Path]:
    """Write the plan, and each entity's features as Featuretools serializes them; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {entity: folder / f"{name}.json" for entity, name in TARGETS.items()}
    for entity, path in paths.items():
        features = [c.feature for c in result.selection.kept if c.entity == entity]
        with atomic_write(path) as partial, suppress_warnings():
            ft.save_features(features, str(partial))
    plan_path = folder / "plan.json"
    with atomic_write(plan_path) as partial:
        partial.write_bytes(result.plan.dumps())
    return [*paths.values(), plan_path]


def planned_candidates(definition: Definition, plan: Plan) -> tuple[Candidate, ...]:
    """Return the definition's features that a plan keeps, in the plan's order.

    Raises:
        DefinitionError: The definition no longer makes this plan.
    """
    by_name = {c.name: c for c in discover(definition).candidates}
    wanted = [i.name for entity in plan.entities for i in entity.features]
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise DefinitionError(
            f"the definition no longer has {', '.join(missing)}; run `reprise features plan` to plan again"
        )
    candidates = tuple(by_name[name] for name in wanted)
    if assemble(definition, candidates).hash != plan.hash:
        raise DefinitionError(
            "the plan is not what the definition makes; run `reprise features plan` to plan again"
        )
    return candidates


def write_sample(out: Path) -> int:
    """Write sample events of the synthetic shop, always the same, as canonical Parquet; return their number."""
    shop = Shop(ShopConfig(seed=7, users=1_000, products=150))
    users, products = np.array(shop.user_ids()), np.array(shop.product_ids())
    rows = 0
    with pq.ParquetWriter(out, EVENT_SCHEMA) as writer:
        for batch in shop.history(_SAMPLE_START_US, _SAMPLE_START_US + 150 * DAY_US):
            columns = [
                pa.array(batch.event_ids()),
                pa.array(users[batch.user]),
                pa.array(products[batch.product]),
                pa.array(np.array(EVENT_TYPES)[batch.event_type]),
                pa.array(batch.amount, from_pandas=True),
                pa.array(batch.timestamp_us, EVENT_SCHEMA.field("timestamp").type),
                pa.nulls(len(batch), pa.string()),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=EVENT_SCHEMA))
            rows += len(batch)
    return rows
