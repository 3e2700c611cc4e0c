"""docs/metrics.md lists every metric. To generate it again:

REPRISE_WRITE_DOCS=1 python -m pytest tests/unit/observability/test_metrics_page.py
"""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from support.metrics_catalogue import (
    JOBS,
    OF_THE_PROCESS,
    OPERATOR,
    SERVICES,
    STATUS,
    Described,
    described,
    registries,
)
from support.prometheus import needs_prometheus, promtool

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
WRITE = os.environ.get("REPRISE_WRITE_DOCS") == "1"
LABELS = {
    "arm": "`baseline` and the candidates of a rollout: about 3",
    "by": "causes of a rollout's decision: about 6",
    "candidate": "candidates of a rollout: about 3",
    "dependency": "`online_store`, `event_log`, `offline_store`",
    "digest": "the served models, or the one refused last: about 3",
    "endpoint": "`/predict`, `/predict/batch`, `/rank`, `/users/buy-again`, `/features`",
    "entity": "`user`, `product`, `pair`",
    "event": "events of a candidate: about 5",
    "feature": "the model's inputs: about 60",
    "generation": "Python's garbage collector: 3",
    "horizon": "`full`, `early`",
    "implementation": "1",
    "level": "`good`, `watch`, `bad`",
    "kind": "our own error classes, or kinds of requests: about 10",
    "major": "1",
    "measure": "measures of a model: about 10",
    "method": "`forecast`, `seasonal_naive`, `moving_average`",
    "metric": "metrics of the analysis: about 5",
    "minor": "1",
    "outcome": "listed in the description: up to 6",
    "phase": "6 phases of a candidate",
    "package": "1",
    "partition": "partitions assigned to the process: 6 by default",
    "patchlevel": "1",
    "plan_hash": "1 for each digest",
    "python": "1",
    "reason": "`unauthenticated`, `forbidden`, `too-many-requests`",
    "rollout": "ModelRollouts of a namespace: usually 1",
    "schema_hash": "1 for each digest",
    "scorer": "`model`, `oracle`, and five baselines",
    "service": "services on the status page: about 5",
    "slice": "`overall`, `repeat_candidates`",
    "source": "`http`, `simulator`",
    "stage": "5 stages of a prediction",
    "status": "HTTP status codes: about 12",
    "step": "steps of a training run: about 10",
    "topic": "events and predictions: 2",
    "verdict": "verdicts on a candidate: about 4",
    "version": "1",
    "view": "the three feature views",
    "window": "`train`, `calibration`, `evaluation`, `published`",
}
"""How many values each label takes at most. None of them is an id of a user, a product or a request."""


def page() -> str:
    everywhere = set.intersection(*({m.name for m in own(name)} for name in SERVICES))
    jobs = set.intersection(*({m.name for m in own(name)} for name in JOBS))
    lines = [HEAD, "## Every service", "", *table(m for m in own(SERVICES[0]) if m.name in everywhere)]
    for name in (*SERVICES, OPERATOR, STATUS):
        lines += ["", f"## {name}", "", *table(m for m in own(name) if m.name not in everywhere)]
    lines += ["", "## Every job", "", *table(m for m in own(JOBS[0]) if m.name in jobs)]
    for name in JOBS:
        lines += ["", f"## {name}", "", *table(m for m in own(name) if m.name not in jobs)]
    lines += ["", "## Labels", "", "| label | values at most |", "| --- | --- |"]
    used = {
        label
        for name in (*SERVICES, OPERATOR, STATUS, *JOBS)
        for metric in own(name)
        for label in metric.labels
    }
    lines += [f"| `{label}` | {LABELS[label]} |" for label in sorted(used)]
    return "\n".join(lines) + "\n"


HEAD = """# Metrics

For operators who write queries, dashboards or alerts. This page lists every metric that a service
exposes at `/metrics` or a job pushes. A test keeps it equal to the code.

Query a histogram `x` as `x_bucket`, `x_count` and `x_sum`. Services also expose the process metrics
of Prometheus's client (`process_*`, `python_*`). Jobs end before they would be scraped, so they
push to the Pushgateway at `PUSHGATEWAY_URL`, with the job's name as the label `job`; scrape it with
`honor_labels: true`. No label has the id of a user, a product or a request.
"""


def own(component: str) -> list[Described]:
    return [m for m in described(registries()[component]) if not m.name.startswith(OF_THE_PROCESS)]


def table(metrics: Iterable[Described]) -> Iterable[str]:
    yield "| metric | type | labels | unit | |"
    yield "| --- | --- | --- | --- | --- |"
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.unit} | {metric.meaning} |"


def test_page_lists_every_metric() -> None:
    wanted = page()
    if WRITE:
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted, f"docs/metrics.md is behind: {__doc__}"


@pytest.mark.parametrize("component", [*SERVICES, OPERATOR, STATUS, *JOBS])
def test_metrics_say_what_they_mean_and_their_labels_are_bounded(component: str) -> None:
    for metric in own(component):
        assert metric.meaning.endswith("."), metric
        assert set(metric.labels) <= LABELS.keys(), (
            f"{metric.name}: say in LABELS how many values a label takes"
        )


@needs_prometheus
@pytest.mark.parametrize("component", [*SERVICES, OPERATOR, STATUS, *JOBS])
def test_names_and_help_are_as_prometheus_wants_them(component: str) -> None:
    assert promtool(["check", "metrics"], generate_latest(registries()[component]).decode()) == ""


@needs_prometheus
def test_promtool_objects_to_a_name_against_the_conventions() -> None:
    with pytest.raises(AssertionError, match="_total"):
        promtool(["check", "metrics"], "# HELP things Things.\n# TYPE things counter\nthings 1\n")
