"""How a candidate goes from one phase to the next: pure functions of what is asked, remembered and seen."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from reprise.rollout.resource.events import Note
from reprise.rollout.resource.spec import Candidate, RolloutSpec, seconds
from reprise.rollout.resource.status import CandidateStatus, EvidenceStatus, HistoryEntry, at
from reprise.rollout.state_machine.analysis import breach, judge
from reprise.rollout.state_machine.observed_state import Observation
from reprise.rollout.state_machine.traffic_steps import Stage, stages, weight_at

UNDER_WAY = frozenset({"Loading", "Progressing", "Measuring", "Shadowing"})
"""Phases in which the predictors hold the candidate."""

_SLACK = timedelta(seconds=10)
_REFUSED_FOR_GOOD = timedelta(seconds=15)
"""A model store that is away for a moment looks like a bundle that is broken, and does no harm meanwhile."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What all candidates of a rollout are judged by at one time.

    Attributes:
        spec: What is asked.
        seen: What is seen.
        baseline: Digest of the baseline that serves.
        served: Whether every predictor serves the document of the status as it was.
        now: The time.
    """

    spec: RolloutSpec
    seen: Observation
    baseline: str
    served: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """A candidate's next status, and what is to be told of it."""

    status: CandidateStatus
    notes: tuple[Note, ...] = ()
    history: tuple[HistoryEntry, ...] = ()


def begin(candidate: Candidate, moment: Moment) -> Outcome:
    """Return a new candidate's first status."""
    if candidate.digest == moment.baseline:
        return Outcome(
            CandidateStatus(
                name=candidate.name,
                digest=candidate.digest,
                phase="Promoted",
                reason="IsBaseline",
                message="it is the baseline",
            )
        )
    status = CandidateStatus(
        name=candidate.name,
        digest=candidate.digest,
        phase="Loading",
        reason="New",
        message="the predictors load it",
        step_time=at(moment.now),
    )
    return Outcome(
        status, (Note("Normal", "Loading", f"candidate {candidate.name}: loading {candidate.digest}"),)
    )


def proceed(candidate: Candidate, status: CandidateStatus, moment: Moment) -> Outcome:
    """Return the next status of a candidate that is known, without promoting it.

    Whatever else is due, a reason to roll back comes first.
    """
    if status.phase not in UNDER_WAY:
        moved = status.phase == "Promoted" and candidate.digest != moment.baseline
        return (
            _ended(status, "BaselineMoved", "another model is the baseline now") if moved else Outcome(status)
        )
    if candidate.digest == moment.baseline:
        return Outcome(_promoted(status, "IsBaseline", "it is the baseline"))
    status = _analysed(candidate, status, moment)
    if harms := _harms(status, moment):
        return roll_back(status, moment, *harms[0])
    return _load(candidate, status, moment) if status.phase == "Loading" else _walk(candidate, status, moment)


def roll_back(status: CandidateStatus, moment: Moment, reason: str, by: str, message: str) -> Outcome:
    """Return a candidate that answers nobody any more, and why."""
    entry = HistoryEntry.model_validate(
        {
            "time": at(moment.now),
            "event": "RolledBack",
            "candidate": status.name,
            "digest": status.digest,
            "baseline": moment.baseline,
            "by": by,
            "message": message,
        }
    )
    note = Note("Warning", "RolledBack", f"candidate {status.name}: {message}")
    return Outcome(_ended(status, reason, message).status, (note,), (entry,))


def restart(status: CandidateStatus, moment: Moment) -> Outcome:
    """Return a candidate that walks its steps from the first again."""
    note = Note("Normal", "Retrying", f"candidate {status.name}: starts anew")
    return Outcome(_restarted(status, moment, "Retried"), (note,))


def hindrance(candidate: Candidate, status: CandidateStatus, moment: Moment) -> str | None:
    """Return why a candidate cannot become the baseline by rule now, or ``None`` where it can."""
    rule = moment.spec.promotion.rule
    wanted = {"Better": {"better"}, "NotWorse": {"better", "not_worse"}}.get(rule, set())
    hold = stages(moment.spec, candidate)[-1].hold
    said = status.evidence.verdict if status.evidence is not None else None
    hindrances = (
        (not wanted, "it waits for a person to promote it"),
        (moment.spec.suspend, "the rollout is suspended"),
        (status.phase != "Measuring", f"it is {status.phase}"),
        (not moment.served, "not every predictor serves its share yet"),
        (_held(status, moment) < hold, f"holds {_percent(status.weight)} for {hold}"),
        (not _well(status, moment), _complaint(status)),
        (said is None, "waits for the outcomes of its users"),
        (said not in wanted, f"the outcomes of its users are {said}"),
    )
    return next((reason for applies, reason in hindrances if applies), None)


def as_promoted(status: CandidateStatus, message: str) -> CandidateStatus:
    """Return a candidate that is the baseline from now on."""
    return _promoted(status, "Promoted", message)


def analysis_due(
    candidate: Candidate, status: CandidateStatus | None, spec: RolloutSpec, now: datetime
) -> bool:
    """Return whether a candidate is to be measured now."""
    if status is None or status.phase not in UNDER_WAY - {"Loading"} or status.digest != candidate.digest:
        return False
    return status.analysis is None or now - status.analysis.time >= seconds(spec.analysis.interval)


def _analysed(candidate: Candidate, status: CandidateStatus, moment: Moment) -> CandidateStatus:
    evidence = _evidence(candidate, moment)
    if evidence != status.evidence:
        status = status.model_copy(update={"evidence": evidence})
    refused = moment.seen.refusal_of(candidate.digest) is not None
    if refused != (status.refused_time is not None):
        status = status.model_copy(update={"refused_time": at(moment.now) if refused else None})
    if candidate.name not in moment.seen.measurements or status.phase == "Loading":
        return status
    analysis = judge(
        moment.spec.analysis,
        moment.seen.measurements[candidate.name],
        status.analysis,
        weight=status.weight,
        pods=len(moment.seen.pods),
        now=moment.now,
    )
    return status.model_copy(update={"analysis": analysis})


def _evidence(candidate: Candidate, moment: Moment) -> EvidenceStatus | None:
    found = moment.seen.evidence
    if found is None or found.rollout != moment.seen.rollout:
        return None
    if moment.now - found.computed_at > seconds(moment.spec.promotion.max_evidence_age):
        return None
    for entry in found.candidates:
        pair = (entry.candidate, entry.candidate_digest, entry.baseline_digest)
        if pair == (candidate.name, candidate.digest, moment.baseline):
            return EvidenceStatus(
                verdict=entry.verdict,
                metric=entry.metric,
                estimate=entry.estimate,
                lower=entry.lower,
                upper=entry.upper,
                time=at(found.computed_at),
            )
    return None


def _harms(status: CandidateStatus, moment: Moment) -> list[tuple[str, str, str]]:
    harms = []
    refusal, since = moment.seen.refusal_of(status.digest), status.refused_time
    if refusal is not None and since is not None and moment.now - since >= _REFUSED_FOR_GOOD:
        harms.append(("BundleRefused", "Predictor", f"a predictor cannot load the bundle: {refusal}"))
    if (metric := breach(status.analysis, moment.spec.analysis.failure_limit)) is not None:
        times = f"{metric.failures} analyses in a row"
        harms.append((f"{metric.type}Breached", "Analysis", f"{metric.message}, in {times}"))
    if status.evidence is not None and status.evidence.verdict == "worse":
        said = status.evidence
        interval = f"{said.estimate:.4g} [{said.lower:.4g}, {said.upper:.4g}]"
        harms.append(
            ("OutcomesWorse", "Outcomes", f"its users' outcomes are worse: {said.metric} {interval}")
        )
    return harms


def _load(candidate: Candidate, status: CandidateStatus, moment: Moment) -> Outcome:
    if not moment.seen.pods:
        return Outcome(_saying(status, "NoPredictors", "no predictor is ready"))
    if not (moment.served and moment.seen.all_hold(candidate.digest)):
        refusal = moment.seen.refusal_of(candidate.digest)
        message = (
            "not every predictor has loaded it yet" if refusal is None else f"cannot be loaded: {refusal}"
        )
        return Outcome(_saying(status, "Loading", message))
    if moment.spec.suspend and not candidate.shadow:
        return Outcome(_saying(status, "Suspended", "loaded; the rollout is suspended"))
    if candidate.shadow:
        note = Note("Normal", "Shadowing", f"candidate {candidate.name}: scores every request, answers none")
        return Outcome(_moved(status, moment, "Shadowing", 0, 0, "scores without answering"), (note,))
    return _give(candidate, status, moment, 0)


def _walk(candidate: Candidate, status: CandidateStatus, moment: Moment) -> Outcome:
    # a changed spec counts at once, and a shadow may turn into an arm
    if candidate.shadow != (status.phase == "Shadowing"):
        return Outcome(_restarted(status, moment, "ShadowChanged"))
    weight = weight_at(moment.spec, candidate, status.step)
    if weight != status.weight:
        status = status.model_copy(update={"weight": weight, "step_time": at(moment.now)})
    if status.phase == "Progressing":
        return _step(candidate, status, moment, stages(moment.spec, candidate))
    if status.phase == "Measuring":
        message = hindrance(candidate, status, moment)
        return Outcome(status if message is None else _saying(status, "Measuring", message))
    return Outcome(status)


def _step(
    candidate: Candidate, status: CandidateStatus, moment: Moment, ladder: tuple[Stage, ...]
) -> Outcome:
    step = min(status.step, len(ladder) - 1)
    if step == len(ladder) - 1:
        return _give(candidate, status, moment, step)
    if moment.spec.suspend:
        return Outcome(_saying(status, "Suspended", "the rollout is suspended"))
    if not moment.served:
        return Outcome(_saying(status, "Unacknowledged", "not every predictor serves its share yet"))
    if _held(status, moment) < ladder[step].hold:
        return Outcome(
            _saying(status, "Holding", f"holds {_percent(ladder[step].weight)} for {ladder[step].hold}")
        )
    if not _well(status, moment):
        return Outcome(_saying(status, "AnalysisPending", _complaint(status)))
    return _give(candidate, status, moment, step + 1)


def _give(candidate: Candidate, status: CandidateStatus, moment: Moment, step: int) -> Outcome:
    ladder = stages(moment.spec, candidate)
    last = step >= len(ladder) - 1
    weight = ladder[min(step, len(ladder) - 1)].weight
    phase = "Measuring" if last else "Progressing"
    message = f"has {_percent(weight)} of the users" + ("" if last else f", step {step + 1} of {len(ladder)}")
    note = Note("Normal", "StepStarted", f"candidate {candidate.name}: {message}")
    return Outcome(_moved(status, moment, phase, step, weight, message), (note,))


def _held(status: CandidateStatus, moment: Moment) -> timedelta:
    return timedelta() if status.step_time is None else moment.now - status.step_time


def _well(status: CandidateStatus, moment: Moment) -> bool:
    analysis = status.analysis
    if analysis is None or not analysis.good:
        return False
    if status.step_time is not None and analysis.time <= status.step_time:
        return False
    return moment.now - analysis.time <= 3 * seconds(moment.spec.analysis.interval) + _SLACK


def _complaint(status: CandidateStatus) -> str:
    metrics = status.analysis.metrics if status.analysis is not None else ()
    wrong = [f"{metric.type}: {metric.message}" for metric in metrics if metric.verdict != "Good"]
    return "; ".join(wrong) or "waits for an analysis of its present share"


def _moved(
    status: CandidateStatus, moment: Moment, phase: str, step: int, weight: int, message: str
) -> CandidateStatus:
    return status.model_copy(
        update={
            "phase": phase,
            "reason": phase,
            "message": message,
            "step": step,
            "step_time": at(moment.now),
            "weight": weight,
        }
    )


def _restarted(status: CandidateStatus, moment: Moment, reason: str) -> CandidateStatus:
    return CandidateStatus(
        name=status.name,
        digest=status.digest,
        phase="Loading",
        reason=reason,
        message="the predictors load it",
        step_time=at(moment.now),
    )


def _ended(status: CandidateStatus, reason: str, message: str) -> Outcome:
    update = {"phase": "RolledBack", "reason": reason, "message": message, "weight": 0, "buckets": ()}
    return Outcome(status.model_copy(update=update))


def _promoted(status: CandidateStatus, reason: str, message: str) -> CandidateStatus:
    update = {"phase": "Promoted", "reason": reason, "message": message, "weight": 0, "buckets": ()}
    return status.model_copy(update=update)


def _saying(status: CandidateStatus, reason: str, message: str) -> CandidateStatus:
    return status.model_copy(update={"reason": reason, "message": message})


def _percent(weight: int) -> str:
    return f"{weight / 100:g} %"
