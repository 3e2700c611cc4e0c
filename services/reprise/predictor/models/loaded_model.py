"""Bundles that are loaded and ready to score, and the arms of a rollout that they answer for."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reprise.bundle import Bundle
from reprise.features.plan import Plan, StateProjection
from reprise.features.vectorizer import FeatureVectorizer
from reprise.predictor.exceptions import PlanMismatchError, UnknownHorizonError
from reprise.predictor.metrics import ArmMeter
from reprise.predictor.models.api import PredictionRequest
from reprise.predictor.models.verdict import VerdictTable
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import Ids, OnlineRow, RowBlock

if TYPE_CHECKING:
    from reprise.bundle.scorer import Scorer
    from reprise.predictor.models.explanation import ForestExplainer

ENTITIES = ("user", "product", "pair")
_INFINITE = (math.inf, -math.inf)

State = Sequence[Any]


class EntityState:
    """Turns stored rows of one entity into the state that the model's inputs are computed from.

    ``codec`` reads the part of the entity's view that is needed; ``empty`` is the state of an unknown entity.
    """

    def __init__(self, project: str, plan: StateProjection) -> None:
        self.codec = ViewCodec(project, plan.view)
        self.empty: State = plan.empty
        self._never_null = [at for at, value in enumerate(plan.empty) if value is not None]
        numbers = [value if isinstance(value, int | float) else np.nan for value in plan.empty]
        self._empty_row = np.array(numbers, np.float64)

    def of_row(self, row: OnlineRow) -> State:
        """Return the state of a row, or the empty state if the entity is unknown; raises ``PlanMismatchError``.

        Infinite numbers, which no version writes now, are a mismatch too.
        """
        if not row.known:
            return self.empty
        state = row.state
        if None in state:
            for at in self._never_null:
                if state[at] is None:
                    raise self._mismatch(at)
        if math.inf in state or -math.inf in state:
            raise self._mismatch(next(at for at, value in enumerate(state) if value in _INFINITE))
        return state

    def of_block(self, block: RowBlock) -> NDArray[np.float64]:
        """Return the states of rows, shape (rows, fields); otherwise as ``of_row``."""
        state = np.where(block.known[:, None], block.state, self._empty_row)
        null = np.isnan(state[:, self._never_null]).any(axis=0)
        if null.any():
            raise self._mismatch(self._never_null[int(null.argmax())])
        infinite = np.isinf(state).any(axis=0)
        if infinite.any():
            raise self._mismatch(int(infinite.argmax()))
        return state

    def _mismatch(self, at: int) -> PlanMismatchError:
        view = self.codec.view
        return PlanMismatchError(
            f"{view.name}.{view.fields[at].name} is null or infinite, but the model's plan always writes a finite"
            " number; another plan or version wrote this row"
        )


@dataclass(frozen=True)
class LoadedModel:
    """A bundle with everything that a request needs from it.

    ``vectorizer`` computes the model's inputs from states. ``required_positions`` are those of the inputs that every
    response shows.
    """

    bundle: Bundle
    plan: Plan
    scorer: "Scorer" = field(repr=False)
    vectorizer: FeatureVectorizer = field(repr=False)
    user: EntityState = field(repr=False)
    product: EntityState = field(repr=False)
    pair: EntityState = field(repr=False)
    products: EntityState | None = field(repr=False)  # The list of a user's products, if the plan has one
    required_positions: tuple[int, ...]
    verdicts: VerdictTable = field(repr=False)
    further_horizon_seconds: int | None = (
        None  # The further horizon that it answers for; None for the model's own
    )
    further: Mapping[timedelta, "LoadedModel"] = field(default_factory=dict, repr=False)  # By horizon
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def explainer(self) -> "ForestExplainer":
        """The forest's trees, read at the first use; raises ``NoExplanationError``."""
        # Imported here, because what is read of a graph needs a library that no other request does.
        from reprise.predictor.models.explanation import ForestExplainer  # noqa: PLC0415

        further = self.further_horizon_seconds
        return ForestExplainer.of(self.bundle.model if further is None else self.bundle.horizons[further])

    @property
    def default_horizon(self) -> timedelta:
        """The bundle's own horizon."""
        return timedelta(seconds=self.bundle.manifest.horizon_seconds)

    @property
    def digest(self) -> str:
        """Digest of the bundle, ``sha256:…``."""
        return self.bundle.digest

    def row_keys(self, user_id: str, product_id: str) -> list[tuple[ViewCodec, bytes]]:
        """Return the codecs and keys of the rows of a user, a product and their pair."""
        user, product, pair = self.user.codec, self.product.codec, self.pair.codec
        return [
            (user, user.key(user_id)),
            (product, product.key(product_id)),
            (pair, pair.key(user_id, product_id)),
        ]

    def block_ids(self, requests: Sequence[PredictionRequest]) -> list[tuple[ViewCodec, Ids]]:
        """Return the codecs of users, products and pairs, each with the ids in all requests."""
        users, products = [each.user_id for each in requests], [each.product_id for each in requests]
        return [
            (self.user.codec, (users,)),
            (self.product.codec, (products,)),
            (self.pair.codec, (users, products)),
        ]


@dataclass(frozen=True, slots=True)
class LoadedArm:
    """An arm whose model is loaded; responses, metrics and the prediction log have its name."""

    name: str
    model: LoadedModel
    meter: ArmMeter

    def at_horizon(self, horizon: timedelta) -> "LoadedArm | None":
        """Return the arm that answers for a horizon, None if its model does not.

        Scores and durations of further horizons are not measured, because those of arms are compared.
        """
        if horizon == self.model.default_horizon:
            return self
        model = self.model.further.get(horizon)
        return None if model is None else LoadedArm(self.name, model, self.meter.of_further_horizon())


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Which arm answers which user. It is replaced as a whole, so a request takes it once and keeps it.

    ``arms`` are in the document's order, the baseline first, which stands in for an arm that is not loaded here.
    ``assignment`` maps a user id to a position in ``arms``; without it the baseline answers everybody. ``shadows``
    score shadow traffic.
    """

    arms: tuple[LoadedArm, ...]
    assignment: Callable[[str], int] | None = None
    shadows: tuple[LoadedArm, ...] = ()

    @property
    def baseline(self) -> LoadedArm:
        """The baseline."""
        return self.arms[0]

    def at_horizon(self, horizon: timedelta) -> "RoutingTable":
        """Return the table of a horizon, in which the baseline answers for arms that lack it.

        Shadows score the default horizon only.

        Raises:
            UnknownHorizonError: The baseline lacks it.
        """
        baseline = self.baseline
        found = baseline.at_horizon(horizon)
        if found is None:
            raise UnknownHorizonError(horizon, (baseline.model.default_horizon, *baseline.model.further))
        arms = (found if arm is baseline else arm.at_horizon(horizon) or found for arm in self.arms)
        return RoutingTable(tuple(arms), self.assignment, self.shadows if found is baseline else ())

    def arm_of(self, user_id: str) -> LoadedArm:
        """Return the arm that answers a user."""
        return self.arms[0] if self.assignment is None else self.arms[self.assignment(user_id)]

    def group_by_arm(self, user_ids: Sequence[str]) -> list[tuple[LoadedArm, Sequence[int]]]:
        """Return the arms that answer these users, each with the positions of its users."""
        if self.assignment is None:
            return [(self.arms[0], range(len(user_ids)))]
        groups: dict[str, tuple[LoadedArm, list[int]]] = {}
        index_of = {user_id: self.assignment(user_id) for user_id in dict.fromkeys(user_ids)}
        for position, user_id in enumerate(user_ids):
            arm = self.arms[index_of[user_id]]
            groups.setdefault(arm.name, (arm, []))[1].append(position)
        return list(groups.values())
