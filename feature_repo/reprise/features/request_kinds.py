"""The kinds of request that a model treats apart, told by the inputs alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.features.plan import ModelInput, Plan

KINDS = ("first event", "first purchase", "first idle", "repeat event", "repeat purchase", "repeat idle")
"""Whether the pair was bought before, and what happens: an event but a purchase, a purchase, or nothing."""

_PER_GROUP = len(KINDS) // 2

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class KindColumns:
    """The positions of the inputs that tell the kinds apart; None if the plan lacks the input."""

    purchases: int | None = None  # How often the user bought the product
    is_purchase: int | None = None  # Whether the event at hand is a purchase; missing if idle

    @classmethod
    def of(cls, plan: Plan) -> "KindColumns":
        """Return the positions in a plan."""

        def position(entity: str, kind: str, field: str) -> int | None:
            wanted = {"kind": kind, "field": field}
            return next((at for at, i in enumerate(plan.inputs) if _is(i, entity, wanted)), None)

        return cls(
            position("pair", "value", f"{plan.purchase_frame}_count"),
            position("request", "request", "is_purchase"),
        )

    def repeat(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Return which rows are of pairs that were bought before."""
        if self.purchases is None:
            return np.zeros(len(rows), np.bool_)
        return rows[:, self.purchases] > 0

    def kinds(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.int8]:
        """Return the kind of each row, its place in ``KINDS``."""
        what = np.zeros(len(rows), np.int8)
        if self.is_purchase is not None:
            column = rows[:, self.is_purchase]
            what = np.where(np.isnan(column), 2, column > 0.5).astype(np.int8)
        return what + np.int8(_PER_GROUP) * self.repeat(rows)

    def kind(self, row: Sequence[float]) -> int:
        """Return the kind of one row, as ``kinds`` does."""
        purchases, is_purchase = self.purchases, self.is_purchase
        kind = _PER_GROUP if purchases is not None and row[purchases] > 0 else 0
        if is_purchase is None:
            return kind
        value = row[is_purchase]
        if value > 0.5:
            return kind + 1
        return kind if value <= 0.5 else kind + 2  # NaN is neither

    def groups(self) -> Iterator[range]:
        """Yield the kinds of the pairs that were not bought before, and of those that were."""
        yield range(_PER_GROUP)
        yield range(_PER_GROUP, len(KINDS))


def pools(kinds: npt.NDArray[np.int8]) -> Iterator[list[npt.NDArray[np.bool_]]]:
    """Yield, for each kind in the order of ``KINDS``, its rows, those of its group, and all.

    What is fitted for a kind takes the first of them that is large enough.
    """
    for kind in range(len(KINDS)):
        group = kinds // _PER_GROUP == kind // _PER_GROUP
        yield [kinds == kind, group, np.ones(len(kinds), np.bool_)]


ONE_KIND = KindColumns()
"""Tells no kinds apart."""


def _is(model_input: ModelInput, entity: str, finish: dict[str, str]) -> bool:
    return model_input.entity == entity and dict(model_input.finish) == finish
