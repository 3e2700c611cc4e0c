"""The default model, the arms of the rollout, and the applied routing document."""

from collections import Counter

from reprise.routing import BASELINE, BUCKETS
from reprise.status.analysis.figures import RECENT_SECONDS, figure, unavailable
from reprise.status.analysis.history import History, Window
from reprise.status.report import Arm, Figure, Model, Rollout
from reprise.status.scrape.snapshot import ProcessSnapshot, Snapshot

ANSWERS = "reprise_predictor_arm_answers_total"
PSI = "reprise_predictor_score_psi"


def model(snapshot: Snapshot) -> tuple[Model | None, str | None]:
    """Return the default model of most predictors, or why it is unknown."""
    digests = Counter(process.model for process in _predictors(snapshot) if process.model is not None)
    if not digests:
        return None, unavailable(snapshot, "predictor") or "no predictor has a model"
    digest = digests.most_common(1)[0][0]
    info = snapshot.models.get(digest)
    if info is None:
        return Model(digest=digest, auc=Figure(unit="auc", unknown="no predictor reports it")), None
    auc = figure(info.auc, "auc", None, "the held-out rows leave it undefined")
    return Model(**{**info.model_dump(), "auc": auc}), None


def arms(snapshot: Snapshot, history: History) -> tuple[Arm, ...]:
    """Return the arms of the newest applied document, or the default model as the only arm."""
    recent = history.window(RECENT_SECONDS)
    predictors = _predictors(snapshot)
    newest = _newest(snapshot)
    if newest is None or newest.routing is None or not newest.routing.arms:
        only, _ = model(snapshot)
        if only is None:
            return ()
        return (
            Arm(
                name="everybody",
                digest=only.digest,
                share=1.0,
                loaded=sum(process.model == only.digest for process in predictors),
                of=len(predictors),
                answers=_answers(snapshot, recent, BASELINE, only.digest),
                psi=_psi(snapshot, BASELINE, only.digest),
            ),
        )
    found = []
    for arm in newest.routing.arms:
        states = [
            (each.state, each.reason)
            for process in predictors
            for each in (process.routing.arms if process.routing is not None else ())
            if (each.name, each.digest) == (arm.name, arm.digest)
        ]
        reasons = (reason or "its model is being loaded" for state, reason in states if state != "loaded")
        found.append(
            Arm(
                name=arm.name,
                digest=arm.digest,
                share=arm.weight / BUCKETS,
                shadow=arm.shadow,
                loaded=sum(state == "loaded" for state, _ in states),
                of=len(predictors),
                reason=next(reasons, None),
                answers=_answers(snapshot, recent, arm.name, arm.digest),
                psi=_psi(snapshot, arm.name, arm.digest),
            )
        )
    return tuple(found)


def rollout(snapshot: Snapshot) -> Rollout:
    """Return the routing document that the predictors have applied."""
    newest = _newest(snapshot)
    predictors = _predictors(snapshot)
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


def _predictors(snapshot: Snapshot) -> tuple[ProcessSnapshot, ...]:
    service = snapshot.service("predictor")
    return () if service is None else service.answering


def _newest(snapshot: Snapshot) -> ProcessSnapshot | None:
    """Return a predictor that has applied the newest generation, ``None`` if none has applied any."""
    applied = [
        (process.routing.generation, process)
        for process in _predictors(snapshot)
        if process.routing is not None and process.routing.generation is not None
    ]
    return max(applied, key=lambda each: each[0])[1] if applied else None


def _answers(snapshot: Snapshot, recent: Window, name: str, digest: str) -> Figure:
    away = unavailable(snapshot, "predictor") or (None if recent.seconds else "a rate needs two snapshots")
    return figure(recent.rate(ANSWERS, arm=name, digest=digest), "1/s", away)


def _psi(snapshot: Snapshot, name: str, digest: str) -> Figure:
    """Return the largest stability index: each process has its own scores, and the worst counts."""
    values = [value for _, value in snapshot.series("predictor", PSI, arm=name, digest=digest)]
    absent = "fewer than 500 scores in the last hour"
    return figure(max(values, default=None), "psi", unavailable(snapshot, "predictor"), absent)
