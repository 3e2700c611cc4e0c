"""What is told of a platform: numbers with what they are of, and never a number where nothing is known."""

import re
from pathlib import Path

import pytest

from reprise.status.analysis.figures import SERVER_ERRORS
from reprise.status.analysis.history import COUNTERS
from reprise.status.report import Figure, Report
from reprise.status.scrape.exposition import parse
from support.metrics_catalogue import own_series
from support.seen_platform import (
    DIGEST,
    NOON,
    OTHER,
    exposed,
    healthy,
    look,
    materializer,
    predictor,
    process,
    reported,
    routed,
    silent,
)

SOURCES = Path(__file__).parents[3] / "services/reprise/status"


def test_rates_and_quantiles_of_two_looks() -> None:
    report = reported(healthy(0), healthy(5))
    assert report.value("request_rate") == 20
    assert report.value("fold_rate") == 10
    assert report.value("accept_rate") == 10
    assert report.value("error_share") == 0
    assert report.value("latency_p50") == pytest.approx(0.0255)
    assert report.value("freshness_p95") == pytest.approx(0.0095)
    assert report.value("lag") == 0


def test_one_look_tells_what_stands_and_no_rates() -> None:
    report = reported(healthy(5))
    assert report.figures["request_rate"] == Figure(unit="1/s", unknown="a rate needs two snapshots")
    assert report.figures["lag"].value == 0


@pytest.mark.parametrize("found", [[], [silent()]])
def test_service_that_does_not_answer_leaves_its_figures_unknown_and_not_zero(found: list[object]) -> None:
    report = reported(healthy(0), healthy(5, predictor=found, materializer=found))  # type: ignore[arg-type]
    unknown = {name: figure.unknown for name, figure in report.figures.items() if figure.value is None}
    for name in ("request_rate", "error_share", "latency_p99", "store_away"):
        assert unknown[name] == "no predictor answers"
    for name in ("lag", "freshness_p95", "fold_rate", "duplicates", "dead_letters"):
        assert unknown[name] == "no materializer answers"
    assert report.model is None
    assert report.model_unknown == "no predictor answers"


def test_service_that_is_no_target_says_so() -> None:
    report = reported(look(0, {}), look(5, {}))
    assert report.figures["lag"].unknown == "no materializer is among the targets"
    assert all(figure.value is None for figure in report.figures.values())


def test_quiet_minute_has_no_quantile_and_a_rate_of_zero() -> None:
    report = reported(healthy(5), healthy(10, predictor=[process(predictor(100))]))
    assert report.value("request_rate") == 0
    assert report.figures["latency_p99"].unknown == "no request in the last minute"


def test_curve_has_a_point_a_look_and_a_gap_where_nothing_answered() -> None:
    report = reported(healthy(0), healthy(5), healthy(10, materializer=[silent()]), healthy(15))
    assert report.curves["lag"] == (0, 0, None, 0)


def test_partition_that_two_hold_during_a_rebalance_counts_once() -> None:
    both = [process(materializer(lag=30), f"10.0.0.{n}:8002") for n in (1, 2)]
    assert reported(healthy(0, materializer=both)).value("lag") == 30


def test_what_is_running_with_version_and_age() -> None:
    [first, *_] = reported(healthy(0)).services
    assert (first.name, first.answering, first.ready) == ("predictor", 1, 1)
    [told] = first.processes
    assert (told.version, told.up_seconds, told.ready) == ("0.1.0", 3600, True)


def test_model_with_what_it_is_held_against() -> None:
    model = reported(healthy(0)).model
    assert model is not None
    assert (model.digest, model.auc.value, model.baselines, model.oracle) == (
        DIGEST,
        0.83,
        {"recency": 0.78},
        None,
    )
    assert model.trained_at is not None
    assert model.trained_at.hour == 1


def loads(digest: str) -> dict[str, float]:
    """Return what a predictor exposes that has loaded a model."""
    return {
        "reprise_ready": 1,
        f'reprise_predictor_model_info{{digest="{digest}",plan_hash="p",schema_hash="s"}}': 1,
    }


def test_model_that_most_predictors_answer_with() -> None:
    old = [process(predictor(), f"10.0.0.{n}:9090") for n in (1, 2)]
    report = reported(healthy(0, predictor=[process(loads(OTHER), "10.0.0.9:9090"), *old]))
    assert report.model is not None
    assert report.model.digest == DIGEST
    [arm] = report.arms
    assert (arm.name, arm.share, arm.loaded, arm.of) == ("everybody", 1, 2, 3)


def test_model_without_details_is_reported_by_its_digest() -> None:
    model = reported(healthy(0, predictor=[process(loads(OTHER))])).model
    assert model is not None
    assert (model.digest, model.auc.unknown) == (OTHER, "no predictor reports it")


def test_arms_of_the_newest_document_and_by_how_many_it_is_applied() -> None:
    answers = f'reprise_predictor_arm_answers_total{{arm="deeper",digest="{OTHER}",outcome="answered"}}'
    arms = (("baseline", DIGEST, 9000), ("deeper", OTHER, 1000))

    def found(count: float) -> list[object]:
        return [
            process(predictor(100, **{answers: count}), routing=routed(7, *arms)),
            process(predictor(100), "10.0.0.2:9090", routing=routed(6, ("baseline", DIGEST, 10_000))),
        ]

    report = reported(healthy(0, predictor=found(10)), healthy(5, predictor=found(60)))  # type: ignore[arg-type]
    assert [(arm.name, arm.share, arm.loaded, arm.of) for arm in report.arms] == [
        ("baseline", 0.9, 2, 2),
        ("deeper", 0.1, 1, 2),
    ]
    assert [arm.answers.value for arm in report.arms] == [0, 10]
    assert report.arms[1].psi.unknown == "fewer than 500 scores in the last hour"
    rollout = report.rollout
    assert (rollout.rollout, rollout.generation, rollout.acknowledged, rollout.of) == ("shop/model", 7, 1, 2)


def test_rollout_that_released_the_predictors_leaves_the_configured_model() -> None:
    report = reported(healthy(0, predictor=[process(predictor(), routing=routed(9))]))
    assert [arm.name for arm in report.arms] == ["everybody"]
    assert report.rollout.generation == 9


def jobs_of(**values: dict[str, float]) -> Report:
    """Return the report of a platform whose jobs pushed these values, each after ``reprise_``."""
    series = {}
    for job, pushed in values.items():
        for name, value in pushed.items():
            metric, _, labels = name.partition("{")
            series[f'reprise_{metric}{{job="reprise-{job}"{"," + labels if labels else "}"}'] = value
    services = {service.name: service.processes for service in healthy(0).services}
    return reported(look(0, services, jobs=parse(exposed(series))))


def test_jobs_as_the_pushgateway_keeps_them() -> None:
    ended = {"job_end_timestamp_seconds": NOON - 60, "job_failed": 0}
    auc = 'trainer_evaluation{measure="roc_auc",scorer="model",slice="overall"}'
    report = jobs_of(
        trainer={**ended, "job_duration_seconds": 12.5, auc: 0.8, "trainer_events": 1234},
        outcomes={"outcomes_mismatches": 0, "outcomes_checked_values": 500},
        scoring={**ended, "scoring_pairs": 41_234},
        demand={
            **ended, "job_failed": 1, "demand_units": 8_021.4, 'demand_backtest_wape{method="forecast"}': 0.184
        },
    )  # fmt: skip
    trainer, outcomes, backfill, scores, demand = report.jobs
    assert (trainer.took_seconds, trainer.failed) == (12.5, False)
    assert trainer.notes == ("AUC 0.800", "from 1,234 events")
    assert outcomes.unknown == backfill.unknown == "it has not run since the Pushgateway began"
    assert (report.value("mismatches"), report.value("checked_values")) == (0, 500)
    assert (scores.title, scores.failed, scores.notes) == ("Scores", False, ("41,234 pairs",))
    assert (demand.title, demand.failed) == ("Demand", True)
    assert demand.notes == ("8,021 units expected", "WAPE 18.4%")


def test_jobs_of_the_night_are_left_out_where_they_have_not_run() -> None:
    assert [job.title for job in jobs_of(trainer={"job_failed": 0}).jobs] == [
        "Training",
        "Outcomes",
        "Backfill",
    ]


def test_every_metric_that_is_read_exists() -> None:
    existing = own_series()
    text = "".join(path.read_text() for path in SOURCES.rglob("*.py"))
    read = set(
        re.findall(
            r'"(reprise_(?:predictor|producer|materializer|archiver|outcomes|trainer|backfill|scoring|demand|job)_\w+|reprise_ready|reprise_build_info)"',
            text,
        )
    )
    assert len(read) > 25
    histograms = {name.removesuffix("_bucket") for name in existing if name.endswith("_bucket")}
    assert read - existing - histograms == set()
    assert existing >= COUNTERS


def test_failures_of_ours_are_those_of_the_alerts() -> None:
    rules = (Path(__file__).parents[3] / "charts/reprise/files/rules.yaml").read_text()
    [outcomes] = set(re.findall(r'reprise_predictor_requests_total\{outcome=~"([^"]+)"\}', rules))
    assert set(outcomes.split("|")) == SERVER_ERRORS
