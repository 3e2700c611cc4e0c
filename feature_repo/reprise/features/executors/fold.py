"""The stream executor: folds events, one at a time, into the states of user, product and pair."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reprise.events import Event, event_key
from reprise.features.accumulators import Cell, FrameEvent, Merge, PairTransition
from reprise.features.feature_functions import PYTHON, evaluate, generate_function
from reprise.features.plan import EntityPlan, Plan
from reprise.features.vectorizer import StateRow

Delta = Sequence[tuple[int, Cell]]
"""A change of one entity's state: the positions of the accumulators that change, and the cell to merge into each."""


class EntityFold:
    """Lifts events to changes of one entity's state, and merges them into it."""

    def __init__(self, entity: EntityPlan, frames: Sequence[str]) -> None:
        ends = list(itertools.accumulate(len(a.fields) for a in entity.accumulators))
        starts = [0, *ends]
        self._merges: list[tuple[Merge, int, slice | None]] = [
            (a.merge, start, slice(start, end) if end - start > 1 else None)
            for a, start, end in zip(entity.accumulators, starts, ends, strict=False)
        ]
        self._lifts = {
            frame: [(at, a.lift) for at, a in enumerate(entity.accumulators) if a.frame == frame]
            for frame in frames
        }
        self._pair_lifts = [
            (at, a.inner, a.lift) for at, a in enumerate(entity.accumulators) if a.frame is None
        ]

    def lift(self, event: FrameEvent, transition: PairTransition) -> Delta:
        """Return the change that an event with this transition of its pair makes to the entity."""
        delta = [(at, lift(event)) for at, lift in self._lifts[event.frame]]
        moved, is_new = transition.moved, transition.is_new
        if is_new or moved:
            delta += [
                (at, lift(transition))
                for at, inner, lift in self._pair_lifts
                if (is_new if inner is None else inner in moved)
            ]
        return delta

    def merge(self, state: StateRow, delta: Delta) -> list[float | int | None]:
        """Return a new state with the change merged in."""
        return self.merge_all(state, (delta,))

    def merge_all(self, state: StateRow, deltas: Iterable[Delta]) -> list[float | int | None]:
        """Return a new state with the changes merged in, in order."""
        row, merges = list(state), self._merges
        for delta in deltas:
            for at, cell in delta:
                merge, start, cells = merges[at]
                if cells is None:
                    (row[start],) = merge((row[start],), cell)
                else:
                    row[cells] = merge(tuple(row[cells]), cell)
        return row


@dataclass(frozen=True, slots=True)
class Change:
    """The changes that one event makes to the states of its user, its product and its pair."""

    user: Delta
    product: Delta
    pair: Delta


class Fold:
    """The plan as a fold over events."""

    def __init__(self, plan: Plan) -> None:
        frames = tuple(plan.frames.values())
        self._frames = plan.frames
        self.user = EntityFold(plan.user, frames)
        self.product = EntityFold(plan.product, frames)
        self.pair = EntityFold(plan.pair, frames)
        self._pair_values = generate_function(
            PYTHON,
            {"pair": list(plan.pair.field_index)},
            (),
            lambda rows, _: [evaluate(spec, rows["pair"]) for spec in plan.pair_values.values()],
        )
        self._unseen = tuple(plan.pair.empty)
        self._nothing = dict.fromkeys(plan.pair_values, math.nan)

    def frame_event(self, event: Event) -> FrameEvent | None:
        """Return what the fold needs of an event, or None if its type makes no feature."""
        frame = self._frames.get(event.event_type)
        if frame is None:
            return None
        return FrameEvent(
            frame, event.timestamp_us, event_key(event.event_id), event.amount, event.product_id
        )

    def apply(self, event: FrameEvent, pair: StateRow) -> tuple[Change, list[float | int | None]]:
        """Return the event's changes, given the state of its pair before it, and the pair's new state."""
        lifted = self.pair.lift(event, _NO_TRANSITION)
        after = self.pair.merge(pair, lifted)
        is_new = tuple(pair) == self._unseen
        before_values = self._nothing if is_new else self.pair_values(pair)
        transition = PairTransition(is_new=is_new, before=before_values, after=self.pair_values(after))
        change = Change(
            user=self.user.lift(event, transition),
            product=self.product.lift(event, transition),
            pair=lifted,
        )
        return change, after

    def pair_values(self, pair: StateRow) -> dict[str, float]:
        """Return the values of a pair that users and products aggregate, by name; NaN where missing."""
        return dict(zip(self._nothing, self._pair_values(pair), strict=True))


_NO_TRANSITION = PairTransition(is_new=False, before={}, after={})


class InMemoryStates:
    """The states of all entities, for checks and small data; without events a state is empty."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.users: dict[str, StateRow] = {}
        self.products: dict[str, StateRow] = {}
        self.pairs: dict[tuple[str, str], StateRow] = {}

    def of(self, user_id: str, product_id: str) -> tuple[StateRow, StateRow, StateRow]:
        """Return the states of a user, a product and their pair."""
        return (
            self.users.get(user_id, self._plan.user.empty),
            self.products.get(product_id, self._plan.product.empty),
            self.pairs.get((user_id, product_id), self._plan.pair.empty),
        )

    def fold(self, fold: Fold, event: Event) -> None:
        """Fold one event into the states of its user, product and pair; ignore other event types."""
        frame_event = fold.frame_event(event)
        if frame_event is None:
            return
        user, product, pair = self.of(event.user_id, event.product_id)
        change, after = fold.apply(frame_event, pair)
        self.users[event.user_id] = fold.user.merge(user, change.user)
        self.products[event.product_id] = fold.product.merge(product, change.product)
        self.pairs[event.user_id, event.product_id] = after
