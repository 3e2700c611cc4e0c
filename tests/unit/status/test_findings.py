"""Each sentence of the verdict, from the metrics that give rise to it."""

import inspect
import re
from pathlib import Path

import pytest
import yaml

from reprise.status.analysis import findings
from reprise.status.report import Finding, Report
from reprise.status.scrape.exposition import parse
from reprise.status.scrape.snapshot import ProcessSnapshot, Snapshot
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
    producer,
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


def test_where_nothing_is_wrong_everything_works() -> None:
    verdict = two_looks().verdict
    assert (verdict.level, verdict.sentence, verdict.findings) == ("good", "Everything works.", ())


def test_platform_that_nobody_uses_works_as_well() -> None:
    idle = {
        "predictor": [process(predictor())],
        "producer": [process(producer())],
        "materializer": [process(materializer())],
    }
    assert reported(look(0, idle), look(5, idle)).verdict.level == "good"


def test_redis_away_is_the_headline_and_not_that_the_predictor_is_unready() -> None:
    away = process(
        predictor(answered=100, reprise_predictor_store_up=0), reason="the online store does not answer"
    )
    report = two_looks(predictor=[away])
    assert report.verdict.sentence == "Redis is unavailable: the predictor gets no answer from it."
    assert report.verdict.findings[0].section == "the-online-store-is-away"
    assert [finding.section for finding in report.verdict.findings[1:]] == ["a-service-is-not-ready"]


def test_redis_away_for_one_of_several_says_for_how_many() -> None:
    away = process(predictor(answered=100, reprise_predictor_store_up=0), "10.0.0.2:9090")
    report = two_looks(predictor=[process(predictor(answered=100)), away])
    assert only(report).sentence == "Redis is unavailable: 1 of 2 predictors get no answer from it."


def test_service_that_is_missing_says_why() -> None:
    report = two_looks(materializer=[])
    assert only(report).sentence == "No materializer answers: there is none."
    report = two_looks(producer=[silent()])
    assert only(report).sentence == "No producer answers: it refuses the connection."


def test_service_that_may_be_away_for_a_while_is_no_disaster() -> None:
    finding = only(two_looks(archiver=[silent()]))
    assert (finding.level, finding.sentence) == ("watch", "No archiver answers: it refuses the connection.")


def test_service_that_is_not_ready_gives_its_reason() -> None:
    finding = only(two_looks(predictor=[process(predictor(), reason="no model is loaded")]))
    assert (finding.level, finding.sentence) == ("bad", "The predictor is not ready: no model is loaded.")


def test_some_processes_unready_or_silent_is_something_to_look_at() -> None:
    well, second = process(predictor(answered=100)), "10.0.0.2:9090"
    finding = only(two_looks(predictor=[well, process(predictor(), second, reason="no model is loaded")]))
    assert finding.level == "watch"
    assert "1 of 2 processes of the predictor are not ready: no model is loaded." in finding.sentence
    finding = only(two_looks(predictor=[well, silent(address=second)]))
    assert finding.sentence == "1 of 2 processes of the predictor do not answer."


def test_predictions_that_fail() -> None:
    finding = only(two_looks(predictor=[process(predictor(answered=98, failed=2))]))
    assert finding.sentence == "Predictions fail: 2% of the last minute's requests."
    assert two_looks(predictor=[process(predictor(answered=990, failed=10))]).verdict.level == "good"


def test_requests_that_break_the_contract_are_no_failure_of_ours() -> None:
    refused = {'reprise_predictor_requests_total{endpoint="/predict",outcome="invalid-request"}': 50.0}
    assert two_looks(predictor=[process(predictor(answered=100, **refused))]).verdict.level == "good"


def test_predictions_that_are_slow() -> None:
    finding = only(two_looks(predictor=[process(predictor(answered=100, slow=20))]))
    assert finding.sentence == "Predictions are slow: 20% of the last minute's took more than 50 ms."


def test_features_that_are_stale() -> None:
    finding = only(two_looks(materializer=[process(materializer(folded=100, late=50))]))
    assert finding.level == "bad"
    assert finding.sentence.startswith("Features are stale: one event in twenty takes 5 min or more")
    assert re.search(r"takes \d+ (s|min) or more until predictions see it\.$", finding.sentence)


def test_features_that_stand_still() -> None:
    finding = only(two_looks(materializer=[process(materializer(folded=0))]))
    assert finding.sentence == "Features make no progress: 10 events a second arrive, and none is folded."


def test_lag_that_is_large_and_grows_but_not_one_that_shrinks() -> None:
    def lags(*values: float) -> Report:
        return reported(
            *(
                healthy(5 * at, materializer=[process(materializer(folded=50 * at, lag=lag))])
                for at, lag in enumerate(values)
            )
        )

    finding = only(lags(100, 5_000, 9_000))
    assert finding.sentence == "The lag grows: 9,000 events wait to be folded."
    assert lags(20_000, 9_000).verdict.level == "good"
    assert lags(100, 200).verdict.level == "good"


def test_dead_letters_are_forgotten_after_ten_minutes() -> None:
    def later(at: float) -> Snapshot:
        return healthy(at, materializer=[process(materializer(folded=10 * at, invalid=2))])

    finding = only(reported(healthy(0), later(5)))
    assert finding.sentence == "2 broken events of the last ten minutes went to the dead letters."
    report = reported(healthy(0), *(later(at) for at in range(5, 700, 5)))
    assert report.verdict.level == "good"
    assert report.value("dead_letters") == 2


def test_archive_that_loses_records_or_falls_behind() -> None:
    def archiver(lost: float, lag: float, missing: float = 0) -> list[ProcessSnapshot]:
        series = {
            'reprise_archiver_missing_records{topic="ecommerce-events"}': missing,
            'reprise_build_info{version="0.1.0"}': 1.0,
            'reprise_archiver_lost_records_total{topic="ecommerce-events"}': lost,
            'reprise_archiver_lag_records{partition="0",topic="ecommerce-events"}': lag,
        }
        return [process(series)]

    report = reported(healthy(0, archiver=archiver(0, 0)), healthy(5, archiver=archiver(7, 0)))
    assert only(report).sentence == "The archive lost 7 records: Kafka had deleted them before."
    report = reported(healthy(0, archiver=archiver(7, 0)), healthy(5, archiver=archiver(7, 200_000)))
    assert only(report).sentence == "The archiver is behind: 200,000 records are not archived yet."
    report = reported(healthy(0, archiver=archiver(7, 0)), healthy(5, archiver=archiver(7, 0, missing=12)))
    assert (
        only(report).sentence == "The archiver is blocked: 12 records that it has to read next are deleted."
    )


def test_answers_that_are_not_logged() -> None:
    before = {'reprise_predictor_logged_total{outcome="dropped"}': 1.0}
    after = {'reprise_predictor_logged_total{outcome="dropped"}': 4.0}
    report = reported(
        healthy(0, predictor=[process(predictor(**before))]),
        healthy(5, predictor=[process(predictor(100, **after))]),
    )
    assert "3 answers of the last ten minutes are missing" in only(report).sentence


def with_jobs(at: float = 5, **values: float) -> Report:
    series = {f'{name}{{job="reprise-{job}"}}': value for (job, name), value in _named(values)}
    services = {service.name: service.processes for service in healthy(at).services}
    return reported(healthy(0), look(at, services, jobs=parse(exposed(series))))


def _named(values: dict[str, float]) -> list[tuple[tuple[str, str], float]]:
    return [((name.partition("__")[0], name.partition("__")[2]), value) for name, value in values.items()]


def test_features_that_do_not_match() -> None:
    report = with_jobs(outcomes__reprise_outcomes_mismatches=3, outcomes__reprise_outcomes_checked_values=10)
    finding = only(report)
    assert finding.level == "bad"
    assert finding.sentence.startswith("Features do not match: 3 logged values")
    report = with_jobs(outcomes__reprise_outcomes_probability_mismatches=1)
    assert only(report).sentence.startswith("Probabilities do not match: 1 logged one")


def test_job_that_failed_or_is_overdue() -> None:
    report = with_jobs(
        trainer__reprise_job_failed=1,
        trainer__reprise_job_end_timestamp_seconds=NOON,
        trainer__reprise_job_last_success_timestamp_seconds=NOON - 3600,
    )
    assert only(report).sentence == "Training failed: its last run did not reach its end."
    report = with_jobs(
        trainer__reprise_job_end_timestamp_seconds=NOON - 3 * 86_400,
        trainer__reprise_job_last_success_timestamp_seconds=NOON - 3 * 86_400,
        backfill__reprise_job_end_timestamp_seconds=NOON - 300 * 86_400,
        backfill__reprise_job_last_success_timestamp_seconds=NOON - 300 * 86_400,
    )
    assert only(report).sentence == "Training is overdue: it last succeeded 3 days ago."
    assert only(report).section == "the-trainer-did-not-run"


def test_scores_that_drift() -> None:
    psi = {f'reprise_predictor_score_psi{{arm="baseline",digest="{DIGEST}"}}': 0.4}
    finding = only(two_looks(predictor=[process(predictor(100, **psi))]))
    assert (finding.level, finding.section) == ("watch", "scores-or-features-drift")
    assert "(index 0.40)" in finding.sentence


def test_scores_of_a_short_time_are_told_and_are_no_reason_for_alarm() -> None:
    psi = {f'reprise_predictor_score_psi{{arm="baseline",digest="{DIGEST}"}}': 0.9}
    young = process(predictor(100, **psi, process_start_time_seconds=NOON - 60), "10.0.0.2:9090")
    report = two_looks(predictor=[young])
    assert report.verdict.level == "good"
    assert report.arms[0].psi.value == 0.9
    psi = dict.fromkeys(psi, 0.1)
    report = two_looks(predictor=[young, process(predictor(100, **psi))])
    assert (report.verdict.level, report.arms[0].psi.value) == ("good", 0.1)


def test_model_that_is_old() -> None:
    services = {service.name: service.processes for service in healthy(0).services}
    late = 30 * 86_400.0
    report = reported(look(late, services))
    assert only(report).section == "the-model-is-old"


def test_model_that_is_refused() -> None:
    refused = {f'reprise_predictor_model_refused{{digest="{OTHER}"}}': 1.0}
    finding = only(two_looks(predictor=[process(predictor(100, **refused))]))
    assert finding.sentence == "A model is refused: cd34cd34cd34 is not loaded, and the previous one stays."


def test_rollout_that_not_all_predictors_have_applied() -> None:
    arms = (("baseline", DIGEST, 9000), ("deeper", OTHER, 1000))
    new = process(predictor(100), routing=routed(7, *arms))
    old = process(predictor(100), "10.0.0.2:9090", routing=routed(6, *arms))
    report = two_looks(predictor=[new, old])
    assert only(report).sentence == "1 of 2 predictors have not applied generation 7 of the rollout."


def test_arm_whose_model_is_not_loaded() -> None:
    arms = (("baseline", DIGEST, 9000), ("deeper", OTHER, 1000))
    loading = routed(7, *arms, state="loading")
    report = two_looks(predictor=[process(predictor(100), routing=loading)])
    assert {finding.section for finding in report.verdict.findings} == {"a-model-is-refused"}
    assert (
        "have not loaded the model of deeper: its model is being loaded."
        in report.verdict.findings[1].sentence
    )


def test_the_worst_comes_first() -> None:
    report = two_looks(
        predictor=[process(predictor(answered=90, failed=10))],
        materializer=[process(materializer(folded=50, invalid=1))],
        archiver=[silent()],
    )
    assert [finding.level for finding in report.verdict.findings] == ["bad", "watch", "watch"]
    assert report.verdict.sentence.startswith("Predictions fail")


@pytest.mark.parametrize("rule", findings.RULES)
def test_every_section_that_is_named_is_in_the_runbook(rule: object) -> None:
    named = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', inspect.getsource(rule)))  # type: ignore[arg-type]
    assert {name for name in named if not name.startswith("reprise-")} <= SECTIONS


def test_bounds_are_those_of_the_alerts() -> None:
    groups = yaml.safe_load((ROOT / "charts/reprise/files/rules.yaml").read_text())["groups"]
    alerts = {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert f"> {findings.STALE_SECONDS:g}" in alerts["RepriseFeaturesStale"]
    assert f"> {findings.LAG_EVENTS:g} and deriv" in alerts["RepriseLagGrows"]
    assert f"> {findings.ARCHIVE_LAG_RECORDS:.0f}" in alerts["RepriseArchiverBehind"]
    assert f"> {findings.DRIFT_PSI:g}" in alerts["RepriseScoresDrift"]
    assert f"> {findings.MODEL_OLD.days} * 86400" in alerts["RepriseModelOld"]
    assert f"> {findings.JOB_MISSED.total_seconds() / 3600:g} * 3600" in alerts["RepriseTrainerMissed"]
    assert "> 14.4 * 0.001" in alerts["ReprisePredictionErrorBudgetBurnsFast"]
    assert pytest.approx(14.4 * 0.001) == findings.ERROR_SHARE
    assert "> 14.4 * 0.01" in alerts["ReprisePredictionLatencyBudgetBurnsFast"]
    assert pytest.approx(14.4 * 0.01) == findings.SLOW_SHARE
