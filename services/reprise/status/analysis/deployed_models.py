"""The model that answers, the arms beside it, and which routing document is applied."""

from collections import Counter
from collections.abc import Iterator

from reprise.routing import BASELINE, BUCKETS
from reprise.status.analysis.figures import RECENT_SECONDS, known, missing
from reprise.status.analysis.history import History, Window
from reprise.status.report import Arm, Figure, Model, Rollout
from reprise.status.scrape.snapshot import ModelInfo, ProcessSnapshot, Snapshot

ANSWERS = "reprise_predictor_arm_answers_total"
PSI = "reprise_predictor_score_psi"

SETTLED_SECONDS = 1800.0
"""The scores of a process that is younger are of too short a time to be compared; the alert waits as long."""


def model(look: Snapshot) -> tuple[Model | None, str | None]:
    """Return the model that most predictors answer with, or why it is not known."""
    away = missing(look, "predictor")
    digests = Counter(process.model for process in _predictors(look) if process.model is not None)
    if not digests:
        return None, away or "no predictor has a model"
    digest = digests.most_common(1)[0][0]
    seen = look.models.get(digest)
    if seen is None:
        reason = "no predictor tells of it"
        return Model(digest=digest, auc=Figure(unit="auc", unknown=reason)), None
    return _told(seen), None


def arms(look: Snapshot, history: History) -> tuple[Arm, ...]:
    """Return the arms of the newest document that a predictor has applied, or the one model without any."""
    recent = history.window(RECENT_SECONDS)
    newest = _newest(look)
    of = len(list(_predictors(look)))
    if newest is None or newest.routing is None or not newest.routing.arms:
        alone, _ = model(look)
        if alone is None:
            return ()
        holding = sum(process.model == alone.digest for process in _predictors(look))
        figures = _answers(look, recent, BASELINE, alone.digest), _psi(look, BASELINE, alone.digest)
        return (
            Arm(
                name="everybody", digest=alone.digest, share=1.0, loaded=holding, of=of,
                answers=figures[0], psi=figures[1],
            ),
        )  # fmt: skip
    return tuple(
        Arm(
            name=arm.name,
            digest=arm.digest,
            share=arm.weight / BUCKETS,
            shadow=arm.shadow,
            loaded=sum(_holds(process, arm.name, arm.digest) for process in _predictors(look)),
            of=of,
            reason=next(_reasons(look, arm.name, arm.digest), None),
            answers=_answers(look, recent, arm.name, arm.digest),
            psi=_psi(look, arm.name, arm.digest),
        )
        for arm in newest.routing.arms
    )


def rollout(look: Snapshot) -> Rollout:
    """Return what the predictors have applied."""
    newest = _newest(look)
    predictors = list(_predictors(look))
    refused = next((p.routing.refused for p in predictors if p.routing and p.routing.refused), None)
    if newest is None or newest.routing is None:
        return Rollout(of=len(predictors), refused=refused)
    generation = newest.routing.generation
    return Rollout(
        rollout=newest.routing.rollout,
        generation=generation,
        acknowledged=sum(p.routing is not None and p.routing.generation == generation for p in predictors),
        of=len(predictors),
        refused=refused,
    )


def _told(seen: ModelInfo) -> Model:
    overall = seen.evaluation.overall
    return Model(
        digest=seen.digest,
        trained_at=seen.training.trained_at,
        data_until=seen.data.last,
        events=seen.data.events,
        rows=overall.rows,
        auc=known(overall.model.roc_auc, "auc", "the held-out rows leave it undefined"),
        baselines={
            name: scores.roc_auc
            for name, scores in sorted(overall.baselines.items())
            if scores.roc_auc is not None
        },
        oracle=overall.oracle.roc_auc if overall.oracle is not None else None,
    )


def _predictors(look: Snapshot) -> Iterator[ProcessSnapshot]:
    seen = look.service("predictor")
    yield from seen.answering if seen is not None else ()


def _newest(look: Snapshot) -> ProcessSnapshot | None:
    """Return a predictor that has applied the newest generation, ``None`` where none has applied any."""
    applied = [p for p in _predictors(look) if p.routing is not None and p.routing.generation is not None]
    return max(applied, key=_generation, default=None)


def _generation(process: ProcessSnapshot) -> int:
    assert process.routing is not None
    return process.routing.generation or 0


def _holds(process: ProcessSnapshot, name: str, digest: str) -> bool:
    return process.routing is not None and any(
        (arm.name, arm.digest, arm.state) == (name, digest, "loaded") for arm in process.routing.arms
    )


def _reasons(look: Snapshot, name: str, digest: str) -> Iterator[str]:
    for process in _predictors(look):
        for arm in process.routing.arms if process.routing is not None else ():
            if (arm.name, arm.digest) == (name, digest) and arm.state != "loaded":
                yield arm.reason or "its model is being loaded"


def _answers(look: Snapshot, recent: Window, name: str, digest: str) -> Figure:
    young = None if recent.seconds else "a rate needs two looks"
    rate = recent.rate(ANSWERS, arm=name, digest=digest)
    return known(0.0 if rate is None and young is None else rate, "1/s", missing(look, "predictor"), young)


def _psi(look: Snapshot, name: str, digest: str) -> Figure:
    settled = [each for each in _predictors(look) if (each.age(look.at) or 0) >= SETTLED_SECONDS]
    told = [
        value
        for process in settled or _predictors(look)
        if process.samples is not None
        for _, value in process.samples.all(PSI, arm=name, digest=digest)
    ]
    # Each process has its own share of the hour's scores; the one that is farthest off is the one to know of.
    return known(
        max(told, default=None), "psi", missing(look, "predictor"), "fewer than 500 scores in the last hour"
    )
