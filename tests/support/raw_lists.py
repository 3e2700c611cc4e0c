"""Features the straightforward way: keep every event, and compute each state anew from all of them.

It knows nothing of ``lift``, ``merge`` and transitions, and so also says independently what a state must be.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from reprise.events import Event, event_key
from reprise.features.executors.fold import Fold, InMemoryStates
from reprise.features.latest_products import pack_entry
from reprise.features.plan import EntityPlan, Plan

Raw = Sequence[tuple[int, int, float, str]]
"""Instant, key, amount (NaN where none) and product of events of one frame."""


class RawLists:
    """Every event of every entity, by frame."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._kept: dict[tuple[str, ...], dict[str, list[tuple[int, int, float, str]]]] = defaultdict(
            lambda: {frame: [] for frame in plan.frames.values()}
        )
        self._pairs: dict[tuple[str, str], dict[tuple[str, str], None]] = defaultdict(dict)
        self._pair_values = Fold(plan).pair_values

    def take(self, event: Event, states: InMemoryStates) -> None:
        """Keep an event, and put the states of its user, product and pair as they are then."""
        user, product = ("user", event.user_id), ("product", event.product_id)
        pair = (event.user_id, event.product_id)
        amount = np.nan if event.amount is None else event.amount
        raw = (event.timestamp_us, event_key(event.event_id), amount, event.product_id)
        for key in (user, product, ("pair", *pair)):
            self._kept[key][self._plan.frames[event.event_type]].append(raw)
        self._pairs[user][pair] = self._pairs[product][pair] = None
        states.pairs[pair] = self._state(self._plan.pair, ("pair", *pair))
        states.users[event.user_id] = self._state(self._plan.user, user, states)
        states.products[event.product_id] = self._state(self._plan.product, product, states)

    def _state(
        self, entity: EntityPlan, key: tuple[str, ...], states: InMemoryStates | None = None
    ) -> list[float | int | bytes | None]:
        frames = {frame: _Columns(raw) for frame, raw in self._kept[key].items()}
        pairs = (
            [self._pair_values(states.pairs[pair]) for pair in self._pairs[key[0], key[1]]]
            if states is not None
            else []
        )
        row: list[float | int | bytes | None] = []
        for kept in entity.accumulators:
            if kept.frame is None:
                row.extend(self._over_pairs(kept.spec, pairs))
            else:
                row.extend(frames[kept.frame].state(kept.spec))
        return row

    def _over_pairs(
        self, spec: Mapping[str, Any], pairs: Sequence[Mapping[str, float]]
    ) -> tuple[float | int | bytes | None, ...]:
        if spec["kind"] == "pair_count":
            return (len(pairs),)
        values = np.array([pair[spec["inner"]] for pair in pairs], dtype=np.float64)
        values = values[~np.isnan(values)]
        if spec["kind"] == "pair_max":
            return (float(values.max()) if len(values) else None,)
        return len(values), float(values.sum())


class _Columns:
    """Events of one frame as columns."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.instants = np.array([instant for instant, *_ in raw], dtype=np.int64)
        amounts = np.array([amount for _, _, amount, _ in raw], dtype=np.float64)
        self.amounts = amounts
        self.there = amounts[~np.isnan(amounts)]

    def state(self, spec: Mapping[str, Any]) -> tuple[float | int | bytes | None, ...]:
        """Return what an accumulator of this spec keeps."""
        by_kind: dict[str, Callable[[], tuple[float | int | bytes | None, ...]]] = {
            "count": lambda: (len(self.raw),),
            "moments": self._moments,
            "smallest_amount": lambda: (min(self.there.tolist(), default=None),),
            "largest_amount": lambda: (max(self.there.tolist(), default=None),),
            "first_time": lambda: (min(self.instants.tolist(), default=None),),
            "last_time": lambda: (max(self.instants.tolist(), default=None),),
            "first_amount": lambda: self._end(first=True),
            "last_amount": lambda: self._end(first=False),
            "latest_products": lambda: (self._products(spec["limit"]),),
            "decayed_count": lambda: self._decayed(spec["half_life_us"], counts=True),
            "decayed_sum": lambda: self._decayed(spec["half_life_us"], counts=False),
        }
        return by_kind[spec["kind"]]()

    def _moments(self) -> tuple[float | int | bytes | None, ...]:
        spread = float(((self.there - self.there.mean()) ** 2).sum()) if len(self.there) else 0.0
        return len(self.there), float(self.there.sum()), spread

    def _products(self, limit: int) -> bytes:
        latest: dict[str, int] = {}
        for instant, _, _, product in sorted(self.raw):
            latest[product] = instant
        packed = sorted((pack_entry(instant, product) for product, instant in latest.items()), reverse=True)
        return b"".join(packed[:limit])

    def _end(self, *, first: bool) -> tuple[float | int | bytes | None, ...]:
        if not self.raw:
            return None, None, None
        instant, key, amount, _ = min(self.raw) if first else max(self.raw)
        return instant, key, None if np.isnan(amount) else amount

    def _decayed(self, half_life_us: int, *, counts: bool) -> tuple[float | int | bytes | None, ...]:
        if not self.raw:
            return 0.0, None
        last = self.instants.max()
        weights = np.exp2((self.instants - last) / half_life_us)
        return float(weights.sum() if counts else np.nansum(self.amounts * weights)), int(last)
