"""From a look, and those before it, to the report."""

from dataclasses import dataclass
from datetime import UTC, datetime

from reprise.status.analysis import deployed_models as models
from reprise.status.analysis import job_runs as runs
from reprise.status.analysis.figures import CURVES, figures
from reprise.status.analysis.findings import verdict
from reprise.status.analysis.history import History
from reprise.status.report import Process, Report, Service
from reprise.status.scrape.snapshot import ProcessSnapshot, ServiceSnapshot, Snapshot


@dataclass(frozen=True)
class Frame:
    """What is the same in every report.

    Attributes:
        title: What is shown beside the name.
        every_seconds: How often the platform is looked at.
    """

    title: str
    every_seconds: float


def report_of(look: Snapshot, history: History, frame: Frame) -> Report:
    """Return the report, and note what the curves show of this look.

    Args:
        look: What was found now.
        history: Holds the same look already, and those before.
        frame: What does not change.
    """
    found = figures(look, history)
    history.note({name: found[name].value for name in CURVES})
    model, model_unknown = models.model(look)
    report = Report(
        title=frame.title,
        at=datetime.fromtimestamp(look.at, UTC),
        every_seconds=frame.every_seconds,
        covers_seconds=history.seconds,
        services=tuple(_service(seen, look.at) for seen in look.services),
        figures=found,
        curves={name: tuple(history.points(name)) for name in CURVES},
        model=model,
        model_unknown=model_unknown,
        refused_model=_refused_model(look),
        arms=models.arms(look, history),
        rollout=models.rollout(look),
        jobs=runs.jobs(look),
    )
    return report.model_copy(update={"verdict": verdict(report)})


def _service(seen: ServiceSnapshot, now: float) -> Service:
    processes = tuple(_process(process, now) for process in seen.processes)
    return Service(
        name=seen.name,
        processes=processes,
        answering=len(seen.answering),
        ready=sum(process.ready for process in processes),
        problem="; ".join(seen.problems) or None,
    )


def _process(seen: ProcessSnapshot, now: float) -> Process:
    if seen.samples is None:
        return Process(address=seen.address, ready=False, reason=seen.problem)
    version = next(
        (labels["version"] for labels, _ in seen.samples.all("reprise_build_info")), "version not told"
    )
    return Process(
        address=seen.address,
        version=version,
        up_seconds=seen.age(now),
        ready=seen.ready,
        reason=seen.reason,
    )


def _refused_model(look: Snapshot) -> str | None:
    seen = look.service("predictor")
    refused = () if seen is None else seen.all("reprise_predictor_model_refused")
    return next((labels["digest"] for labels, value in refused if value == 1), None)
