"""Plans features: discover, compile, select on a sample of events, and write the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from reprise.features.discovery.candidates import Candidate, Discovery, assemble, discover
from reprise.features.discovery.definition import Definition
from reprise.features.discovery.entity_set import TARGETS
from reprise.features.discovery.featuretools_compat import ft, suppress_warnings
from reprise.features.discovery.selection import Selection, select
from reprise.features.exceptions import DefinitionError, NotEnoughEventsError
from reprise.features.plan import ENTITY_NAMES, Plan
from reprise.features.training_rows import build_training_rows
from reprise.runtime.files import atomic_write

PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class PlanningResult:
    """A plan, and the discovery and selection behind it."""

    plan: Plan
    discovery: Discovery
    selection: Selection


def make_plan(definition: Definition, events: Path, horizon: timedelta) -> PlanningResult:
    """Discover features, select among them on these events, and assemble the plan.

    ``events`` is a sample of history, canonical Parquet. Features are ranked by the label of the horizon.

    Raises:
        DefinitionError: The definition is inconsistent.
        NotEnoughEventsError: The events are too few for a selection.
    """
    discovery = discover(definition)
    full_plan = assemble(definition, discovery.candidates)
    with TemporaryDirectory(prefix="reprise-plan-") as folder:
        rows = Path(folder) / "rows.parquet"
        build_training_rows(events, rows, full_plan, horizon)
        names = [c.name for c in discovery.candidates]
        table = pq.read_table(rows, columns=[*names, "label"])
    labelled = table.filter(table.column("label").is_valid())
    if labelled.num_rows == 0:
        raise NotEnoughEventsError(
            f"the history is shorter than the horizon of {horizon}: nothing is labelled"
        )
    values = np.column_stack([labelled.column(name).to_numpy() for name in names])
    selection = select(
        discovery.candidates,
        values,
        labelled.column("label").to_numpy().astype(bool),
        max_inputs=definition.max_inputs,
        duplicate_correlation=definition.duplicate_correlation,
    )
    return PlanningResult(assemble(definition, selection.kept), discovery, selection)


def write_plan(result: PlanningResult, folder: Path) -> list[Path]:
    """Write the plan, and each entity's features as Featuretools serializes them; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for entity in ENTITY_NAMES:
        features = [c.feature for c in result.selection.kept if c.compiled.entity == entity]
        path = folder / f"{TARGETS[entity]}.json"
        with atomic_write(path) as partial, suppress_warnings():
            ft.save_features(features, str(partial))
        written.append(path)
    path = folder / PLAN_FILE
    with atomic_write(path) as partial:
        partial.write_bytes(result.plan.dumps())
    return [*written, path]


def planned_candidates(definition: Definition, plan: Plan) -> tuple[Candidate, ...]:
    """Return the definition's features that a plan keeps, in the plan's order.

    Raises:
        DefinitionError: The definition no longer makes this plan.
    """
    by_name = {c.name: c for c in discover(definition).candidates}
    wanted = [i.name for entity in plan.entities for i in entity.inputs]
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


def load_saved_features(folder: Path) -> Mapping[str, Sequence[Any]]:
    """Return the Featuretools features of each entity that ``write_plan`` saved."""
    with suppress_warnings():
        return {entity: ft.load_features(str(folder / f"{TARGETS[entity]}.json")) for entity in ENTITY_NAMES}
