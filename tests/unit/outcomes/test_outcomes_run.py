import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from reprise.archive import Erasure, OfflineStore, rewrite, write_events
from reprise.bundle import BundleFiles, BundleStore
from reprise.events import Event, parse_timestamp
from reprise.features.labels import Outcome
from reprise.log import EVENTS, PREDICTIONS
from reprise.outcomes.comparison.confidence_sequence import Verdict
from reprise.outcomes.comparison.results import Reproduction
from reprise.outcomes.evaluation import Evaluation, build_evidence
from reprise.outcomes.exceptions import LabelsDifferError, NothingArchivedError
from reprise.outcomes.features.feature_consistency import Consistency, check_consistency
from reprise.outcomes.job import evaluate
from reprise.outcomes.metrics import exposition
from reprise.outcomes.report.report_page import render_html, render_json
from reprise.outcomes.report.summary import render_summary
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.archive_snapshot import PREDICTION_SCHEMA, ArchiveSnapshot, take_snapshot
from reprise.outcomes.tables.outcome_join import join_outcomes, labelled_rows, model_arms, open_predictions
from reprise.runtime.exceptions import InvalidSettingsError
from support.archived import event_records
from support.offline import put
from support.outcomes import DAY_US, HORIZON_US, START_US, Archive, Shop, archive_predictions, make_archive
from support.served_bundles import bundle_files, small_plan

pytestmark = pytest.mark.slow

INSTANTS = ("timestamp_us", "answered_us")


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_PROGRESS", "off")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("shop"), Shop(users=500, late=0.02))


def settings(archive: Archive, **others: Any) -> OutcomesSettings:
    given: dict[str, Any] = {
        "offline_store": archive.offline, "model_store": archive.models, "publish": False,
        "early_horizon": "12h", "exposure": "10d", "min_users": 50, "draws": 40,
        "check_window": "365d",
    }  # fmt: skip
    return OutcomesSettings.load(**given | others)


@pytest.fixture(scope="module")
def found(archive: Archive) -> Evaluation:
    return evaluate(settings(archive), archive.document)


@pytest.fixture
def joined(archive: Archive, tmp_path: Path) -> Iterator[tuple[Any, ArchiveSnapshot]]:
    snapshot = take_snapshot(settings(archive), tmp_path)
    with duckdb.connect() as connection:
        open_predictions(connection, snapshot)
        join_outcomes(connection, snapshot, Outcome("purchase"))
        yield connection, snapshot


@pytest.mark.parametrize(
    ("senders", "counted"),
    [
        (None, {"real", "forged", "direct", "other"}),
        ("authenticated", {"real", "direct", "other"}),
        ("key:shop", {"real"}),
        ("kafka", {"direct"}),
        ("key:shop,kafka", {"real", "direct"}),
    ],
)
def test_purchases_count_if_their_senders_do(tmp_path: Path, senders: str | None, counted: set[str]) -> None:
    posted = {"real": "key:shop", "forged": "anonymous", "direct": None, "other": "key:shop-2"}
    events = [
        Event(name, "u", f"p-{name}", "purchase", START_US + at, 1.0, posted_by=posted_by)
        for at, (name, posted_by) in enumerate(posted.items())
    ]
    # somebody without a key knew the id of a purchase and was faster
    squatting = replace(events[0], product_id="p-squatted", posted_by="anonymous")
    store = OfflineStore(str(tmp_path / "offline"))
    logged = [events[1], squatting, *events] if senders else events
    put(store, event_records(0, logged, range(len(logged))))
    write_events(store, tmp_path / "events.parquet", order="arrival")
    snapshot = ArchiveSnapshot(tmp_path / "events.parquet", tmp_path / "predictions.parquet", 0, 0, 0, 0)
    pq.write_table(PREDICTION_SCHEMA.empty_table(), snapshot.predictions)
    with duckdb.connect() as connection:
        open_predictions(connection, snapshot)
        join_outcomes(connection, snapshot, Outcome("purchase"), senders)
        bought = connection.execute("SELECT event_id, product_id FROM bought").fetchall()
    assert sorted(bought) == sorted((name, f"p-{name}") for name in counted)


def test_only_what_authenticated_senders_posted_is_evidence(archive: Archive, found: Evaluation) -> None:
    # the events of this shop were written to Kafka directly
    conversions = {
        senders: [arm.full.conversion.value for arm in evaluation.arms if arm.full is not None]
        for senders in ("authenticated", "key:shop")
        for evaluation in [evaluate(settings(archive, senders=senders), archive.document)]
    }
    assert conversions == {
        "authenticated": [arm.full.conversion.value for arm in found.arms if arm.full is not None],
        "key:shop": [0.0, 0.0],
    }


@pytest.mark.parametrize("senders", ["", "everybody", "key:", "kafka,", "key:a b"])
def test_senders_are_named_as_the_setting_says(archive: Archive, senders: str) -> None:
    with pytest.raises(InvalidSettingsError):
        settings(archive, senders=senders)


def test_labels_are_those_of_training_and_only_of_horizons_that_are_over(
    joined: tuple[Any, ArchiveSnapshot], archive: Archive
) -> None:
    connection, snapshot = joined
    bought: dict[tuple[str, str], list[int]] = {}
    for event in archive.events:
        if event.event_type == "purchase":
            bought.setdefault((event.user_id, event.product_id), []).append(event.timestamp_us)
    for group in model_arms(connection):
        rows = labelled_rows(connection, group, HORIZON_US, snapshot.complete_until_us, 1_000_000)
        expected = []
        for said in archive.predictions:
            at = parse_timestamp(said["timestamp"])
            if said["arm"] != group.arm or at + HORIZON_US > snapshot.complete_until_us:
                continue
            pair = (str(said["user_id"]), str(said["product_id"]))
            later = any(at < ts <= at + HORIZON_US for ts in bought.get(pair, []))
            expected.append((said["probability"], later))
        assert sorted(zip(rows.probabilities.tolist(), rows.labels.tolist(), strict=True)) == sorted(expected)
        assert 0 < sum(label for _, label in expected) < len(expected)


def test_more_predictions_than_allowed_are_sampled_by_users(joined: tuple[Any, ArchiveSnapshot]) -> None:
    connection, snapshot = joined
    group = model_arms(connection)[0]
    rows = labelled_rows(connection, group, HORIZON_US, snapshot.complete_until_us, 500)
    assert 300 < len(rows.labels) < 700
    assert 0 < rows.share < 1
    per_user = np.bincount(rows.users)
    assert per_user.min() >= 1
    assert per_user.max() > 2


def test_the_better_model_is_found_on_the_same_predictions(found: Evaluation) -> None:
    [candidate] = found.candidates
    brier = candidate.results[0]
    assert (brier.metric, brier.design, brier.verdict) == ("brier", "paired", Verdict.BETTER)
    assert brier.latest.lower > 0
    assert brier.baseline_users == brier.candidate_users > 350
    assert brier.looks[0].at_us < brier.latest.at_us
    assert found.reproduction.compared > 1_000
    assert found.reproduction.differing == 0


def test_probabilities_that_differ_are_counted_in_the_summary(found: Evaluation) -> None:
    told = render_summary(replace(found, reproduction=Reproduction(compared=900, differing=3)))
    assert "900 logged probabilities computed again by their models: 3 differ" in told


def test_conversion_of_two_arms_stays_undecided_with_few_users(found: Evaluation) -> None:
    [candidate] = found.candidates
    conversion = candidate.results[1]
    assert (conversion.metric, conversion.design) == ("conversion", "arms")
    assert conversion.verdict is Verdict.UNDECIDED
    assert candidate.verdict is Verdict.UNDECIDED
    assert candidate.deciding is conversion
    assert [result.early for result in candidate.results] == [False, False, True]


def test_arms_are_measured_with_intervals_over_users(found: Evaluation) -> None:
    assert [arm.arm for arm in found.arms] == ["baseline", "candidate"]
    for arm in found.arms:
        assert arm.full is not None
        assert arm.early is not None
        assert arm.early.predictions > arm.full.predictions
        for name, interval in arm.full.measures.items():
            assert interval.lower <= interval.value <= interval.upper or name == "calibration_error", name
        assert "brier" not in arm.early.measures
        assert sum(point.rows for point in arm.full.calibration) == arm.full.predictions
        assert sum(arm.full.histogram) == arm.full.predictions
    baseline, candidate = (arm.full for arm in found.arms)
    assert baseline is not None
    assert candidate is not None
    assert candidate.measures["roc_auc"].value > 0.55 > baseline.measures["roc_auc"].value


def test_users_are_spread_as_the_shares_say(found: Evaluation) -> None:
    assert found.ratio is not None
    assert found.ratio.anytime_p_value > 0.05
    assert sum(found.users.values()) > 400
    assert found.since_us is None


def test_a_change_of_shares_is_found_and_only_later_users_are_compared(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, Shop(users=300, share_before=1_000, visits=6))
    found = evaluate(settings(archive, check_rows=0), archive.document)
    change_us = START_US + 8 * DAY_US
    assert found.since_us is not None
    assert change_us - DAY_US // 12 < found.since_us <= change_us
    assert found.ratio is not None
    assert found.ratio.anytime_p_value > 0.05
    for result in found.candidates[0].results:
        assert result.looks[0].at_us > found.since_us


def test_an_arm_that_loses_users_is_found_out(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, Shop(users=900, visits=1.5, candidate_share=3_500))
    arms = archive.document.model_copy(
        update={
            "arms": tuple(
                arm.model_copy(update={"weight": weight})
                for arm, weight in zip(archive.document.arms, (5_000, 5_000), strict=True)
            )
        }
    )
    found = evaluate(settings(archive, check_rows=0), arms)
    assert found.ratio is not None
    assert found.ratio.anytime_p_value < 0.001
    assert {candidate.verdict for candidate in found.candidates} == {"undecided"}
    assert "no verdict" in " ".join(found.notes)


def test_features_agree_with_the_offline_store(found: Evaluation) -> None:
    assert found.consistency.predictions > 1_500
    assert found.consistency.compared == 8 * found.consistency.predictions
    assert found.consistency.mismatches == {}
    assert found.consistency.excluded_share < 0.03


@pytest.mark.parametrize("in_flight", ["30s", "11m"])
def test_differences_by_late_events_and_those_in_flight_are_excluded(tmp_path: Path, in_flight: str) -> None:
    archive = make_archive(tmp_path, Shop(users=6, visits=150, late=0.5))
    # events are ten minutes late: certain to have come after the answer, or in doubt
    consistency = evaluate(settings(archive, in_flight=in_flight), archive.document).consistency
    assert consistency.mismatches == {}
    assert consistency.in_flight["product_views"] > 4
    assert consistency.in_flight["product_views"] <= consistency.excluded < consistency.predictions / 10


def test_share_of_excluded_predictions_rises_if_timestamps_are_changed(
    joined: tuple[Any, ArchiveSnapshot], archive: Archive, tmp_path: Path
) -> None:
    connection, snapshot = joined
    plans = {digest: small_plan() for digest in archive.digests.values()}

    def check() -> Consistency:
        return check_consistency(connection, snapshot, plans, settings(archive), tmp_path)

    assert check().excluded_share < 0.03
    connection.execute("ALTER VIEW predictions RENAME TO logged")
    columns = ", ".join(f"{name} + 10_000_000 * (row_id % 4 = 0)::BIGINT AS {name}" for name in INSTANTS)
    connection.execute(f"CREATE VIEW predictions AS SELECT * REPLACE ({columns}) FROM logged")
    changed = check()
    assert changed.excluded_share == pytest.approx(0.25, abs=0.04)
    assert changed.mismatches == {}


def test_wrong_and_absent_features_are_counted_by_name_whatever_else_is_late(tmp_path: Path) -> None:
    def corrupt(number: int, features: dict[str, float | None]) -> None:
        if number % 50 == 0:
            features["product_views"] = 1_000.0 + number
        if number % 80 == 0:
            features["total_spend"] = None if features["total_spend"] is not None else 3.0
        if number == 7:
            del features["avg_transaction_amount"]

    archive = make_archive(tmp_path, Shop(users=6, visits=150, late=0.5, corrupt=corrupt))
    found = evaluate(settings(archive), archive.document)
    consistency = found.consistency
    rows = consistency.predictions
    assert set(consistency.mismatches) == {"product_views", "total_spend", "avg_transaction_amount"}
    assert consistency.mismatches["avg_transaction_amount"] == 1
    assert consistency.mismatches["product_views"] == pytest.approx(rows / 50, abs=2)
    assert consistency.mismatches["total_spend"] == pytest.approx(rows / 80, abs=2)
    assert consistency.in_flight["product_views"] > 4
    assert len(consistency.examples) == 5
    assert "mismatches" in render_summary(found)
    assert "total_spend" in render_html(found)


def test_predictions_from_before_the_window_are_not_checked_any_more(tmp_path: Path) -> None:
    def corrupt(number: int, features: dict[str, float | None]) -> None:
        if number < 20:
            features["product_views"] = 1_000.0

    archive = make_archive(tmp_path, Shop(users=40, corrupt=corrupt))
    everything = evaluate(settings(archive), archive.document).consistency
    assert everything.mismatched == 20
    window = settings(archive, check_window="2d")
    lately = evaluate(window, archive.document).consistency
    assert lately.mismatched == 0
    assert 0 < lately.predictions < everything.predictions


def test_predictions_for_further_horizons_change_no_result_and_are_noted(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, Shop(users=40))
    before = evaluate(settings(archive), archive.document)
    wrong = [{**said, "horizon_seconds": 604_800, "probability": 0.0} for said in archive.predictions[::2]]
    archive_predictions(OfflineStore(archive.offline), wrong, after=archive.predictions)
    after = evaluate(settings(archive), archive.document)
    assert after.arms == before.arms
    assert [each.verdict for each in after.candidates] == [each.verdict for each in before.candidates]
    assert after.predictions == before.predictions == len(archive.predictions)
    assert after.notes[:-1] == before.notes
    assert after.notes[-1].startswith(f"{len(wrong):,} predictions for further horizons are left out")


def test_features_of_other_users_still_agree_after_users_were_erased(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, Shop(users=40))
    before = evaluate(settings(archive), archive.document)
    store = OfflineStore(archive.offline)
    erased = {str(said["user_id"]) for said in archive.predictions[::40]}
    for user_id in erased:
        store.put_erasure(
            Erasure(
                erasure_id=user_id,
                user_id=user_id,
                salt="01" * 32,
                topic_id="of another topic",
                erased_at_ms=2**62,
            )
        )
    for topic in (EVENTS.name, PREDICTIONS.name):
        for segment in store.segments(topic):
            rewrite(store, segment)
    for user_id in erased:
        store.complete_erasure(user_id)
    after = evaluate(settings(archive), archive.document)
    kept = sum(said["user_id"] not in erased for said in archive.predictions)
    assert (before.predictions, after.predictions) == (len(archive.predictions), kept)
    assert 0 < kept < before.predictions
    assert after.consistency.predictions > 0
    assert (after.consistency.mismatched, after.consistency.excluded, after.broken) == (0, 0, 0)


def test_a_shadow_is_compared_on_the_predictions_that_the_baseline_answered(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, Shop(users=400, shadow=True))
    found = evaluate(settings(archive, check_rows=0), archive.document)
    [candidate] = found.candidates
    [brier] = candidate.results
    assert (brier.metric, brier.design) == ("brier", "paired")
    assert candidate.verdict is Verdict.BETTER
    assert brier.candidate_users > 300
    assert [arm.shadow for arm in found.arms] == [False, True]
    assert found.ratio is None


def test_without_a_model_users_of_two_arms_are_compared(archive: Archive) -> None:
    found = evaluate(settings(archive, model_store="memory://nothing", horizon="2d"), archive.document)
    brier = found.candidates[0].results[0]
    assert brier.design == "arms"
    assert brier.candidate_users < 600
    assert "not in the model store" in found.notes[0]
    assert found.consistency.unknown_models == len(archive.predictions) - found.consistency.predictions > 0


def test_without_a_document_the_arms_are_those_of_the_predictions(archive: Archive) -> None:
    found = evaluate(settings(archive, check_rows=0), None)
    assert found.rollout is None
    assert [candidate.arm.name for candidate in found.candidates] == ["candidate"]
    assert found.candidates[0].results[0].verdict is Verdict.BETTER
    assert found.ratio is None
    assert build_evidence(found) is None


def test_models_of_other_horizons_are_not_compared_silently(archive: Archive, tmp_path: Path) -> None:
    models, other = BundleStore(str(tmp_path / "models")), HORIZON_US // 2_000_000
    digest = models.publish(bundle_files(horizon_seconds=other))
    for known in archive.digests.values():
        bundle = BundleStore(archive.models).fetch(known)
        models.publish(BundleFiles(bundle.manifest.to_bytes(), bundle.model))
    baseline, candidate = archive.document.arms
    arms = (baseline, candidate.model_copy(update={"digest": digest}))
    document = archive.document.model_copy(update={"arms": arms})
    with pytest.raises(LabelsDifferError, match="--horizon"):
        evaluate(settings(archive, model_store=str(tmp_path / "models")), document)


def test_nobody_to_say_the_horizon_is_an_error(archive: Archive) -> None:
    with pytest.raises(NothingArchivedError, match="--horizon"):
        evaluate(settings(archive, model_store="memory://nothing"), archive.document)


def test_evidence_is_what_the_operator_reads(found: Evaluation, archive: Archive) -> None:
    evidence = build_evidence(found)
    assert evidence is not None
    assert evidence.rollout == "shop/trial"
    [said] = evidence.candidates
    assert said.candidate_digest == archive.digests["candidate"]
    assert said.baseline_digest == archive.digests["baseline"]
    assert (said.verdict, said.metric) == ("undecided", "conversion")
    assert said.lower <= said.estimate <= said.upper
    assert type(evidence).from_bytes(evidence.to_bytes()) == evidence


def test_evidence_of_too_few_users_says_that_anything_is_possible(archive: Archive) -> None:
    found = evaluate(settings(archive, check_rows=0, min_users=100_000), archive.document)
    evidence = build_evidence(found)
    assert evidence is not None
    [said] = evidence.candidates
    assert (said.verdict, said.lower, said.upper) == ("undecided", -1.0, 1.0)


def test_report_holds_everything_it_shows(found: Evaluation) -> None:
    page = render_html(found)
    assert "shop/trial" in page
    assert page.count("data:image/svg+xml;base64,") == 5
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    document = orjson.loads(render_json(found))
    assert document["candidates"][0]["verdict"] == "undecided"
    assert document["complete_until"].endswith("Z")
    assert document["consistency"]["mismatched"] == 0


def test_the_same_archive_gives_the_same_report(archive: Archive, found: Evaluation) -> None:
    again = orjson.loads(render_json(evaluate(settings(archive), archive.document)))
    once = orjson.loads(render_json(found))
    again.pop("computed")
    once.pop("computed")
    assert again == once


def test_metrics_say_what_the_report_says(found: Evaluation) -> None:
    text = exposition(found).decode()
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    digest = found.candidates[0].arm.digest
    verdict = (("candidate", "candidate"), ("digest", digest), ("verdict", "undecided"))
    assert samples["reprise_outcomes_verdict", verdict] == 1
    assert samples["reprise_outcomes_mismatches", ()] == 0
    arm = (("arm", "candidate"), ("digest", digest), ("horizon", "full"), ("measure", "roc_auc"))
    full = found.arms[1].full
    assert full is not None
    assert samples["reprise_outcomes_measure", arm] == pytest.approx(full.measures["roc_auc"].value)
