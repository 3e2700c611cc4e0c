"""A bundle made ready to answer: the model, and everything of its plan that a request needs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from reprise.bundle import Bundle
from reprise.features.exceptions import PlanError
from reprise.features.feature_vector.vectorizer import FeatureVectorizer
from reprise.features.plan import REQUIRED_INPUTS, Plan, StateProjection
from reprise.predictor.exceptions import ForeignStateError, ModelRefusedError
from reprise.predictor.services.onnx_scorer import Model
from reprise.store.exceptions import LayoutError
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import OnlineRow, RowBlock

State = Sequence[float | int | None]


class EntityStates:
    """Reads the rows of one entity as its plan means them, as much of them as inputs are finished from.

    Attributes:
        codec: Of that part of the entity's view.
        empty: What an entity that is not known has.
    """

    def __init__(self, project: str, plan: StateProjection) -> None:
        self.codec = ViewCodec(project, plan.view)
        self._names = [f.name for f in plan.view.fields]
        self.empty: State = plan.empty
        self._always = [at for at, value in enumerate(plan.empty) if value is not None]
        self._empty_row = np.array([np.nan if value is None else value for value in plan.empty], np.float64)

    def one(self, row: OnlineRow) -> State:
        """Return the state of a row, the empty state where the entity is not known.

        Raises:
            ForeignStateError: The row lacks a number that the plan always writes.
        """
        if not row.known:
            return self.empty
        state = row.state
        if None in state:
            for at in self._always:
                if state[at] is None:
                    raise ForeignStateError(self.codec.view.name, self._names[at])
        return state

    def many(self, block: RowBlock) -> NDArray[np.float64]:
        """Return the states of rows, shape (rows, fields), the empty state where an entity is not known.

        Raises:
            ForeignStateError: A row lacks a number that the plan always writes.
        """
        state = np.where(block.known[:, None], block.state, self._empty_row)
        foreign = np.isnan(state[:, self._always]).any(axis=0)
        if foreign.any():
            name = self._names[self._always[int(foreign.argmax())]]
            raise ForeignStateError(self.codec.view.name, name)
        return state


@dataclass(frozen=True)
class ServedModel:
    """A bundle that answers.

    Attributes:
        bundle: The bundle, without which nothing is known of the model.
        plan: Its compiled plan.
        model: Its graph.
        vectorizer: From states to the model's inputs.
        user: Reads the users' rows.
        product: Reads the products' rows.
        pair: Reads the pairs' rows.
        promised: Positions of the inputs that every answer shows.
        loaded_at: When it was made ready.
    """

    bundle: Bundle
    plan: Plan
    model: Model = field(repr=False)
    vectorizer: FeatureVectorizer = field(repr=False)
    user: EntityStates = field(repr=False)
    product: EntityStates = field(repr=False)
    pair: EntityStates = field(repr=False)
    promised: tuple[int, ...]
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def digest(self) -> str:
        """Address of the bundle, ``sha256:…``."""
        return self.bundle.digest

    @property
    def threshold(self) -> float:
        """A probability at or above it predicts a purchase."""
        return self.bundle.manifest.threshold


def make_ready(bundle: Bundle, project: str) -> ServedModel:
    """Return the bundle ready to answer, having checked that all of its parts fit each other and this code.

    Args:
        bundle: The bundle, verified by its store.
        project: The Feast project whose rows it reads.

    Raises:
        ModelRefusedError: A part does not fit.
    """
    manifest = bundle.manifest
    try:
        plan = Plan.from_dict(manifest.plan)
        served = ServedModel(
            bundle=bundle,
            plan=plan,
            model=Model.of(bundle),
            vectorizer=FeatureVectorizer(plan, [entity.projection.view for entity in plan.entities]),
            user=EntityStates(project, plan.user.projection),
            product=EntityStates(project, plan.product.projection),
            pair=EntityStates(project, plan.pair.projection),
            promised=tuple(plan.input_names.index(name) for name in REQUIRED_INPUTS),
        )
    except (PlanError, LayoutError) as error:
        raise ModelRefusedError(f"plan: {error}") from error
    _same("plan_hash", manifest.plan_hash, plan.hash)
    _same("schema_hash", manifest.schema_hash, plan.schema_hash)
    _same_order(manifest.input_names, plan.input_names)
    _answer_a_stranger(served)
    return served


def _same(name: str, said: str, found: str) -> None:
    if said != found:
        raise ModelRefusedError(f"{name}: the manifest says {said}, its plan has {found}")


def _same_order(manifest: Sequence[str], plan: Sequence[str]) -> None:
    if len(manifest) != len(plan):
        raise ModelRefusedError(f"inputs: the manifest has {len(manifest)}, its plan {len(plan)}")
    for position, (said, found) in enumerate(zip(manifest, plan, strict=True)):
        if said != found:
            raise ModelRefusedError(
                f"inputs: at position {position} the manifest has {said!r}, its plan {found!r}"
            )


def _answer_a_stranger(served: ServedModel) -> None:
    user, product, pair = (
        states.one(OnlineRow([None] * len(states.codec.view.fields), known=False))
        for states in (served.user, served.product, served.pair)
    )
    inputs = served.vectorizer.vector(user, product, pair, timestamp_us=0)
    if not 0.0 <= served.model.predict_one(inputs) <= 1.0:
        raise ModelRefusedError("the model's answer for a user and a product never seen is no probability")


def seconds_for_a_row(served: ServedModel) -> float:
    """Return how long the model takes for one row, seconds: the best of three, which other work holds up least."""
    row = [0.0] * len(served.plan.inputs)
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        served.model.predict_one(row)
        taken.append(time.perf_counter() - start)
    return min(taken)
