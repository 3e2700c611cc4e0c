"""The bundle loader: fetches a bundle and checks that its parts fit each other and this predictor."""

import math
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple, Self

import numpy as np

from reprise.bundle import Bundle, BundleStore, UnfinishedRehearsalError, UnusableModelError
from reprise.bundle.rehearsal import Rehearsal
from reprise.bundle.scorer import Scorer, horizon_scorers
from reprise.features.exceptions import PlanError
from reprise.features.plan import REQUIRED_INPUTS, Plan
from reprise.features.request_kinds import KINDS
from reprise.features.vectorizer import FeatureVectorizer
from reprise.predictor.exceptions import ModelRefusedError
from reprise.predictor.models.loaded_model import EntityState, LoadedModel
from reprise.predictor.models.verdict import VerdictTable
from reprise.store.exceptions import LayoutError

_TOLERANCE = 1e-5
_TIMING_RUNS = 3
_MAX_UNFINISHED = 3
_MAX_RETRY_SECONDS = 300.0
RETRY_SECONDS = 5.0
"""Delay before a model of an arm is loaded again, and the first one after a rehearsal that has not finished."""


class LoadFailure(NamedTuple):
    """Why a model could not be loaded, and the monotonic time to try again, in seconds.

    A rehearsal that did not finish says little about the model. Until that has happened three times in a row, it
    ``may_pass``; the delay doubles each time.
    """

    reason: str
    retry_at: float
    unfinished: int

    @classmethod
    def of(cls, error: Exception, before: Self | None, retry_seconds: float) -> Self:
        """Return the failure after ``before``, to be retried after ``retry_seconds`` unless a rehearsal caused it."""
        unfinished = 0
        if isinstance(error, ModelRefusedError):
            # A digest fixes the content of its bundle: one that does not fit never will.
            retry_seconds = math.inf
        elif isinstance(error, UnfinishedRehearsalError):
            unfinished = 1 + (before.unfinished if before else 0)
            retry_seconds = min(RETRY_SECONDS * 2.0 ** min(unfinished - 1, 10), _MAX_RETRY_SECONDS)
        return cls(f"{type(error).__name__}: {error}", time.monotonic() + retry_seconds, unfinished)

    @property
    def may_pass(self) -> bool:
        """Whether the rehearsal has not finished so far, but may yet."""
        return 0 < self.unfinished < _MAX_UNFINISHED


class BundleLoader:
    """Loads bundles of a store, for the rows of one Feast project. It blocks, so call it on a thread.

    A bundle is rehearsed before it is loaded for the first time, one after another, so that the children together take
    the memory of one.
    """

    def __init__(self, store: BundleStore, project: str, rehearsal: Rehearsal | None = None) -> None:
        self._store = store
        self._project = project
        self._rehearsal = rehearsal
        self._rehearsed: set[str] = set()
        self._lock = threading.Lock()

    def latest(self) -> str:
        """Return the digest that the store's pointer names; raises ``BundleError``."""
        return self._store.latest()

    def load(self, digest: str, max_row_seconds: float = math.inf) -> LoadedModel:
        """Return a model that is ready to score; raises ``ModelRefusedError`` or ``BundleError``.

        All arms share one event loop, so a model that takes longer than ``max_row_seconds`` for a row would delay them.
        """
        bundle = self._store.fetch(digest)
        self._rehearse(bundle)
        model = load_bundle(bundle, self._project)
        # The best of several runs, which other work disturbs least.
        row = [0.0] * len(model.plan.inputs)
        for each in (model, *model.further.values()):
            seconds = math.inf
            for _ in range(_TIMING_RUNS):
                start = time.perf_counter()
                each.scorer.score_row(row)
                seconds = min(seconds, time.perf_counter() - start)
            if seconds > max_row_seconds:
                raise ModelRefusedError(
                    f"scoring one row takes {seconds:.3g} s; the maximum is {max_row_seconds:g} s"
                )
        return model

    def _rehearse(self, bundle: Bundle) -> None:
        with self._lock:
            if self._rehearsal is None or bundle.digest in self._rehearsed:
                return
            try:
                self._rehearsal.run(bundle)
            except UnusableModelError as error:
                raise ModelRefusedError(str(error)) from error
            self._rehearsed.add(bundle.digest)


def load_bundle(bundle: Bundle, project: str) -> LoadedModel:
    """Return a bundle as a model that is ready to score; raises ``ModelRefusedError`` if a part does not fit."""
    manifest = bundle.manifest
    for verdicts in (manifest.verdicts, *(each.verdicts for each in manifest.horizons)):
        if verdicts and set(verdicts) != set(KINDS):
            raise ModelRefusedError(f"verdicts: expected {', '.join(KINDS)}; got {', '.join(verdicts)}")
    try:
        plan = Plan.from_dict(manifest.plan)
        model = LoadedModel(
            bundle=bundle,
            plan=plan,
            scorer=Scorer.of(bundle),
            vectorizer=FeatureVectorizer(plan, [entity.projection.view for entity in plan.entities]),
            user=EntityState(project, plan.user.projection),
            product=EntityState(project, plan.product.projection),
            pair=EntityState(project, plan.pair.projection),
            products=None if (kept := plan.user.product_list) is None else EntityState(project, kept),
            required_positions=tuple(plan.input_names.index(name) for name in REQUIRED_INPUTS),
            verdicts=VerdictTable(manifest, plan),
        )
        scorers = horizon_scorers(manifest, model.scorer, bundle.horizons)
    except (PlanError, LayoutError) as error:
        raise ModelRefusedError(f"plan: {error}") from error
    except UnusableModelError as error:
        raise ModelRefusedError(str(error)) from error
    _check_manifest(model)
    unknown = model.vectorizer.vector(model.user.empty, model.product.empty, model.pair.empty, timestamp_us=0)
    for scorer in scorers.values():
        _check_scorer(scorer, manifest.model.input, manifest.model.output)
        if not 0.0 <= scorer.score_row(unknown) <= 1.0:
            raise ModelRefusedError("the score of an unknown user and product is not a probability")
    further = {
        timedelta(seconds=each.seconds): replace(
            model,
            scorer=scorers[each.seconds],
            verdicts=VerdictTable(each, plan),
            further_horizon_seconds=each.seconds,
        )
        for each in manifest.horizons
    }
    return replace(model, further=further) if further else model


def _check_scorer(scorer: Scorer, input_name: str, output_name: str) -> None:
    """Check the graph's input and output, and that a row has the same probability alone and in a batch."""
    width = len(scorer.input_names)
    graph_inputs = scorer.session.get_inputs()
    if [node.name for node in graph_inputs] != [input_name]:
        names = ", ".join(node.name for node in graph_inputs)
        raise ModelRefusedError(f"the graph's inputs are {names}; the manifest names {input_name}")
    (node,) = graph_inputs
    if node.type != "tensor(float)" or len(node.shape) != 2 or node.shape[1] not in (width, None):
        raise ModelRefusedError(
            f"input {input_name}: expected tensor(float) [rows, {width}], got {node.type} {node.shape}"
        )
    outputs = [node.name for node in scorer.session.get_outputs()]
    if output_name not in outputs:
        raise ModelRefusedError(
            f"the graph's outputs are {', '.join(outputs)}; the manifest names {output_name}"
        )
    for value in (0.0, 1.0, math.nan):
        batch = scorer.score(np.full((2, width), value))
        if batch.shape != (2,):
            raise ModelRefusedError(f"2 rows of {value} give {batch.size} scores; expected 2")
        alone = scorer.score_row([value] * width)
        if not 0.0 <= alone <= 1.0 or not np.allclose(batch, alone, rtol=0.0, atol=_TOLERANCE):
            raise ModelRefusedError(
                f"a row of {value} scores {alone} alone and {batch.tolist()} twice; expected the same probability"
            )


def _check_manifest(model: LoadedModel) -> None:
    manifest, plan = model.bundle.manifest, model.plan
    names = zip(manifest.input_names, plan.input_names, strict=False)
    for name, listed, planned in (
        ("plan_hash", manifest.plan_hash, plan.hash),
        ("schema_hash", manifest.schema_hash, plan.schema_hash),
        ("number of inputs", len(manifest.input_names), len(plan.input_names)),
        *((f"input {position}", *pair) for position, pair in enumerate(names)),
    ):
        if listed != planned:
            raise ModelRefusedError(f"{name}: the manifest has {listed}, its plan {planned}")
