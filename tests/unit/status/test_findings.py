"""Each sentence of the verdict, from the metrics that give rise to it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from reprise.status.report import Finding, Report
from reprise.status.scrape.exposition import parse
from reprise.status.scrape.snapshot import Alert, ProcessSnapshot
from support.seen_platform import (
    DIGEST,
    NOON,
    OTHER,
    exposed,
    healthy,
    predictor,
    process,
    reported,
    routed,
    silent,
)

ROOT = Path(__file__).parents[3]
SECTIONS = {
    re.sub(r"[^a-z0-9 -]", "", line[3:].lower()).replace(" ", "-")
    for line in (ROOT / "docs/operations.md").read_text().splitlines()
    if line.startswith("## ")
}


def two_looks(**replaced: list[ProcessSnapshot]) -> Report:
    return reported(healthy(0), healthy(5, **replaced))


def only(report: Report) -> Finding:
    [finding] = report.verdict.findings
    assert finding.section in SECTIONS
    assert (report.verdict.level, report.verdict.sentence) == (finding.level, finding.sentence)
    return finding


def test_without_prometheus_and_findings_everything_is_ready() -> None:
    verdict = two_looks().verdict
    assert (verdict.level, verdict.sentence, verdict.findings) == ("good", "Everything is ready.", ())


def test_platform_that_nobody_uses_works_as_well() -> None:
    assert reported(healthy(0), replace(healthy(0), at=NOON + 5)).verdict.level == "good"


def test_redis_away_is_the_headline_and_not_that_the_predictor_is_unready() -> None:
    away = process(
        predictor(answered=100, reprise_predictor_store_up=0), reason="the online store does not answer"
    )
    report = two_looks(predictor=[away])
    assert report.verdict.sentence == "Redis is unavailable: the predictor gets no answer from it."
    assert [finding.section for finding in report.verdict.findings] == [
        "the-online-store-is-away",
        "a-service-is-not-ready",
    ]


def archiver(lost: float, missing: float = 0) -> list[ProcessSnapshot]:
    series = {
        'reprise_archiver_missing_records{topic="ecommerce-events"}': missing,
        'reprise_build_info{version="0.1.0"}': 1.0,
        'reprise_archiver_lost_records_total{topic="ecommerce-events"}': lost,
    }
    return [process(series)]


WELL, SECOND = process(predictor(answered=100)), "10.0.0.2:9090"
WITHOUT_STORE = process(predictor(answered=100, reprise_predictor_store_up=0), SECOND)
UNREADY = process(predictor(), SECOND, reason="no model is loaded")
REFUSING = process(predictor(100, **{f'reprise_predictor_model_refused{{digest="{OTHER}"}}': 1.0}))
ARMS = (("baseline", DIGEST, 9000), ("deeper", OTHER, 1000))
NEWER, OLDER = (
    process(predictor(100), address, routing=routed(generation, *ARMS))
    for address, generation in (("10.0.0.1:9090", 7), (SECOND, 6))
)


@pytest.mark.parametrize(
    ("replaced", "level", "sentence"),
    [
        ({"materializer": []}, "bad", "No materializer answers: there is none."),
        ({"producer": [silent()]}, "bad", "No producer answers: it refuses the connection."),
        ({"archiver": [silent()]}, "watch", "No archiver answers: it refuses the connection."),
        ({"predictor": [UNREADY]}, "bad", "The predictor is not ready: no model is loaded."),
        (
            {"predictor": [WELL, UNREADY]},
            "watch",
            "1 of 2 processes of the predictor are not ready: no model is loaded.",
        ),
        (
            {"predictor": [WELL, silent(address=SECOND)]},
            "watch",
            "1 of 2 processes of the predictor do not answer.",
        ),
        (
            {"predictor": [WELL, WITHOUT_STORE]},
            "bad",
            "Redis is unavailable: 1 of 2 predictors get no answer from it.",
        ),
        (
            {"predictor": [REFUSING]},
            "watch",
            "A model is refused: cd34cd34cd34 is not loaded, and the previous one stays.",
        ),
        (
            {"predictor": [NEWER, OLDER]},
            "watch",
            "1 of 2 predictors have not applied generation 7 of the rollout.",
        ),
        (
            {"archiver": archiver(7, missing=12)},
            "bad",
            "The archiver is blocked: 12 records that it has to read next are deleted.",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_level(
    replaced: dict[str, list[ProcessSnapshot]], level: str, sentence: str
) -> None:
    finding = only(two_looks(**replaced))
    assert (finding.level, finding.sentence) == (level, sentence)


def test_records_that_the_archive_lost_are_told_also_while_no_archiver_answers() -> None:
    told = "The archive lost 7 records: Kafka had deleted them before."
    lost = (healthy(0, archiver=archiver(0)), healthy(5, archiver=archiver(7)))
    assert only(reported(*lost)).sentence == told
    sentences = [each.sentence for each in reported(*lost, healthy(10, archiver=[silent()])).verdict.findings]
    assert told in sentences


@pytest.mark.parametrize(
    ("job", "values", "level", "sentence"),
    [
        (
            "outcomes",
            {"outcomes_mismatches": 3, "outcomes_checked_values": 10},
            "bad",
            "Features do not match: 3 logged values differ from what the offline store gives.",
        ),
        (
            "outcomes",
            {"outcomes_probability_mismatches": 1},
            "bad",
            "Probabilities do not match: 1 logged one differ from what the model gives.",
        ),
        (
            "trainer",
            {"job_failed": 1, "job_end_timestamp_seconds": NOON},
            "watch",
            "Training failed: its last run did not reach its end.",
        ),
    ],
)
def test_what_a_job_found_or_that_it_failed(
    job: str, values: dict[str, float], level: str, sentence: str
) -> None:
    series = {f'reprise_{name}{{job="reprise-{job}"}}': value for name, value in values.items()}
    pushed = replace(healthy(5), jobs=parse(exposed(series)), jobs_problem=None)
    finding = only(reported(healthy(0), pushed))
    assert (finding.level, finding.sentence) == (level, sentence)


def test_arm_whose_model_is_not_loaded() -> None:
    loading = routed(7, *ARMS, state="loading")
    report = two_looks(predictor=[process(predictor(100), routing=loading)])
    assert {finding.section for finding in report.verdict.findings} == {"a-model-is-refused"}
    told = "have not loaded the model of deeper: its model is being loaded."
    assert told in report.verdict.findings[1].sentence


def alert(name: str, severity: str, section: str, summary: str = "Predictions fail") -> Alert:
    labels = {"alertname": name, "severity": severity}
    annotations = {"summary": summary, "runbook_url": f"https://example.com/docs/operations.md#{section}"}
    return Alert.model_validate({"labels": labels, "annotations": annotations, "state": "firing"})


BURNS = alert("ReprisePredictionErrorBudgetBurnsFast", "critical", "predictions-fail")


def with_alerts(*alerts: Alert, problem: str | None = None, **replaced: list[ProcessSnapshot]) -> Report:
    snapshot = healthy(5, **replaced)
    return reported(healthy(0), replace(snapshot, alerts=None if problem else alerts, alerts_problem=problem))


def test_where_no_alert_fires_everything_works() -> None:
    assert with_alerts().verdict.sentence == "Everything works."


def test_alert_that_fires_is_told_once_with_its_section() -> None:
    finding = only(with_alerts(BURNS, BURNS))
    assert (finding.level, finding.sentence) == ("bad", "Predictions fail.")
    assert finding.section == "predictions-fail"
    lags = alert("RepriseLagGrows", "warning", "the-lag-grows")
    assert [each.level for each in with_alerts(lags, BURNS).verdict.findings] == ["bad", "watch"]


def test_alert_about_what_the_page_found_itself_is_not_told_twice() -> None:
    unready = alert("RepriseServiceNotReady", "warning", "a-service-is-not-ready")
    assert only(with_alerts(unready, archiver=[silent()])).sentence.startswith("No archiver answers")
    nobody = alert("RepriseNobodyAnswers", "critical", "a-service-is-not-ready")
    assert [each.level for each in with_alerts(nobody, archiver=[silent()]).verdict.findings] == [
        "bad",
        "watch",
    ]


def test_alert_that_says_more_than_the_finding_of_its_section_is_shown_too() -> None:
    behind = alert(
        "RepriseArchiverBehind", "warning", "the-archive-loses-records", "The archiver is far behind"
    )
    verdict = with_alerts(behind, archiver=archiver(0, missing=12)).verdict
    assert {each.section for each in verdict.findings} == {"the-archive-loses-records"}
    assert "The archiver is far behind." in [each.sentence for each in verdict.findings]


def test_prometheus_that_does_not_answer_is_a_finding() -> None:
    finding = only(with_alerts(problem="Prometheus: it refuses the connection"))
    assert finding.level == "watch"
    assert finding.sentence == "The alerts are not known: Prometheus: it refuses the connection."
