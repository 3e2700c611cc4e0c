"""A bundle that is loaded and ready to score."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reprise.bundle import Bundle
from reprise.features.plan import Plan, StateProjection
from reprise.features.vectorizer import FeatureVectorizer
from reprise.predictor.exceptions import PlanMismatchError
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import OnlineRow, RowBlock

if TYPE_CHECKING:
    from reprise.bundle.scorer import Scorer

ENTITIES = ("user", "product", "pair")

State = Sequence[float | int | None]


class EntityState:
    """Turns stored rows of one entity into the state that the model's inputs are computed from.

    ``codec`` reads the part of the entity's view that is needed; ``empty`` is the state of an unknown entity.
    """

    def __init__(self, project: str, plan: StateProjection) -> None:
        self.codec = ViewCodec(project, plan.view)
        self.empty: State = plan.empty
        self._never_null = [at for at, value in enumerate(plan.empty) if value is not None]
        self._empty_row = np.array([np.nan if value is None else value for value in plan.empty], np.float64)

    def of_row(self, row: OnlineRow) -> State:
        """Return the state of a row, or the empty state if the entity is unknown.

        Raises:
            PlanMismatchError: A field that must not be null is null.
        """
        if not row.known:
            return self.empty
        state = row.state
        if None in state:
            for at in self._never_null:
                if state[at] is None:
                    raise self._mismatch(at)
        return state

    def of_block(self, block: RowBlock) -> NDArray[np.float64]:
        """Return the states of rows, shape (rows, fields); unknown entities have the empty state.

        Raises:
            PlanMismatchError: A field that must not be null is null.
        """
        state = np.where(block.known[:, None], block.state, self._empty_row)
        null = np.isnan(state[:, self._never_null]).any(axis=0)
        if null.any():
            raise self._mismatch(self._never_null[int(null.argmax())])
        return state

    def _mismatch(self, at: int) -> PlanMismatchError:
        view = self.codec.view
        return PlanMismatchError(view.name, view.fields[at].name)


@dataclass(frozen=True)
class LoadedModel:
    """A bundle with everything that a request needs from it.

    Attributes:
        scorer: Scores the model's inputs.
        vectorizer: Computes the model's inputs from states.
        required_positions: Positions of the inputs that every response shows.
    """

    bundle: Bundle
    plan: Plan
    scorer: "Scorer" = field(repr=False)
    vectorizer: FeatureVectorizer = field(repr=False)
    user: EntityState = field(repr=False)
    product: EntityState = field(repr=False)
    pair: EntityState = field(repr=False)
    required_positions: tuple[int, ...]
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def digest(self) -> str:
        """Digest of the bundle, ``sha256:…``."""
        return self.bundle.digest

    @property
    def threshold(self) -> float:
        """The least probability that predicts a purchase."""
        return self.bundle.manifest.threshold
