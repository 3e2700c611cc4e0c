"""Every executor over one history, and what comparing them finds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reprise.events import Event
from reprise.features.discovery.candidates import Candidate
from reprise.features.discovery.definition import Definition
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.feature_functions import FloatArray
from reprise.features.parity.comparison import (
    Comparison,
    batch_inputs,
    compare,
    feature_scales,
    stream_inputs,
)
from reprise.features.parity.reference import reference_inputs
from reprise.features.plan import EntityPlan, Plan
from reprise.runtime.progress import progress
from support.hard_histories import Request, event_frame, largest_amount, request_frame
from support.histories import States, event_table


@dataclass(frozen=True)
class Answers:
    """What batch and stream answer to the same requests; rows are requests, columns are the plan's inputs."""

    plan: Plan
    batch: FloatArray
    stream: FloatArray
    largest_amount: float

    def batch_of(self, name: str) -> FloatArray:
        column: FloatArray = self.batch[:, self.plan.input_names.index(name)]
        return column

    def scales(self) -> FloatArray:
        return feature_scales(self.plan, self.plan.input_names, self.batch, self.largest_amount)

    def compared(self) -> Comparison:
        return compare("batch and stream", self.plan.input_names, self.batch, self.stream, self.scales())

    def compared_with(self, reference: FloatArray, names: Sequence[str]) -> Comparison:
        """Compare the reference's columns ``names`` with batch."""
        columns = [self.plan.input_names.index(name) for name in names]
        batch, scales = self.batch[:, columns], self.scales()[columns]
        return compare("reference and batch", names, reference, batch, scales)


def answers(
    executor: BatchExecutor, plan: Plan, events: Sequence[Event], requests: Sequence[Request]
) -> Answers:
    """Answer requests by the batch SQL and by the fold."""
    asked = request_frame(requests)
    executor.load_events(event_table(events))
    batch = batch_inputs(executor, plan, asked)
    with progress("folding", len(events), "events") as folding:
        stream = stream_inputs(plan, events, asked, folding)
    return Answers(plan, batch, stream, largest_amount(events))


def reference_answers(
    events: Sequence[Event],
    requests: Sequence[Request],
    candidates: Sequence[Candidate],
    definition: Definition,
) -> FloatArray:
    """Answer requests by Featuretools; columns are the candidates."""
    columns = reference_inputs(event_frame(events), request_frame(requests), candidates, definition)
    return np.column_stack([columns[c.name] for c in candidates])


def folded_states(plan: Plan, events: Iterable[Event]) -> InMemoryStates:
    """Fold events in the order given."""
    fold, states = Fold(plan), InMemoryStates(plan)
    for event in events:
        states.fold(fold, event)
    return states


def states_by_ids(states: InMemoryStates, entity: EntityPlan) -> States:
    if entity.name == "pair":
        return {ids: list(state) for ids, state in states.pairs.items()}
    kept = states.users if entity.name == "user" else states.products
    return {(key,): list(state) for key, state in kept.items()}


def state_mismatches(entity: EntityPlan, left: States, right: States, amount: float) -> list[str]:
    """Say what differs: whole numbers must be equal, doubles within 1e-9 of the largest value of their field.

    For a sum of squares the scale is at least the square of ``amount``, the largest, for each of the events.
    """
    if left.keys() != right.keys():
        return [f"{entity.name}: {sorted(left.keys() ^ right.keys())} are only in one"]
    found = []
    for at, field in enumerate(entity.view.fields):
        values = {ids: (left[ids][at], right[ids][at]) for ids in left}
        numbers = (value for pair in values.values() for value in pair if isinstance(value, int | float))
        scale = max(map(abs, numbers), default=0.0)
        if field.name.endswith("_m2"):
            scale = max(scale, amount**2 * len(left))
        for ids, (one, other) in values.items():
            if field.kind != "double" or one is None or other is None:
                same = one == other and type(one) is type(other)
            else:
                same = abs(one - other) <= 1e-9 * scale
            if not same:
                found.append(f"{entity.name} {ids} {field.name}: {one!r} against {other!r}")
    return found
