"""One run: take a snapshot of the archive, join outcomes, measure, test, check, and write the results."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reprise.bundle import Bundle, BundleNotFoundError, Manifest
from reprise.features.labels import Outcome
from reprise.features.plan import Plan
from reprise.outcomes.comparison.arm_metrics import measure_arms
from reprise.outcomes.comparison.candidate_tests import CandidateTests, run_candidate_tests
from reprise.outcomes.evaluation import Evaluation, build_evidence
from reprise.outcomes.exceptions import LabelsDifferError, NothingArchivedError
from reprise.outcomes.features.feature_consistency import Consistency, check_consistency
from reprise.outcomes.features.feature_drift import measure_drift
from reprise.outcomes.metrics import exposition
from reprise.outcomes.report.report_page import render_html, render_json
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.archive_snapshot import ArchiveSnapshot, take_snapshot
from reprise.outcomes.tables.compared_arms import ComparedArms, arms_of_document, arms_of_predictions
from reprise.outcomes.tables.outcome_join import join_outcomes, open_predictions
from reprise.routing import DocumentKeys, RoutingDocument
from reprise.routing.store import RoutingStore
from reprise.runtime.durations import microseconds
from reprise.runtime.progress import progress
from reprise.runtime.storage import open_storage
from reprise.sql import connect

REPORT, DATA, EVIDENCE, METRICS = "report.html", "report.json", "evidence.json", "metrics.prom"
_NO_BASELINE = "No prediction is of the baseline's arm, so nothing is compared."


@dataclass(frozen=True, slots=True)
class JobResult:
    """The evaluation of a run, and the address of its report."""

    evaluation: Evaluation
    report: str


def run(settings: OutcomesSettings) -> JobResult:
    """Evaluate the archived predictions, write report and metrics, and publish the evidence.

    Raises:
        NothingArchivedError: There are no predictions or no events yet, or no model defines the horizon.
        LabelsDifferError: The arms' models predict different things, such as other horizons.
        OfflineStoreError: The offline store cannot be read, or lacks events.
        BundleError: The model store cannot be read.
        StorageError: The report cannot be written.
        StoreError: Redis is unavailable.
        InvalidRoutingError: The routing document breaks its format, or is not signed by a trusted key.
        InvalidKeyFileError: A file of keys has none.
        FeatureEngineError: No event makes features.
    """
    document = None
    if settings.publish:
        with _open_routing(settings) as routing:
            document = routing.document()
    evaluation = evaluate(settings, document)
    storage = open_storage(settings.out)
    storage.write(DATA, render_json(evaluation))
    storage.write(REPORT, render_html(evaluation).encode())
    storage.write(METRICS, exposition(evaluation))
    evidence = build_evidence(evaluation)
    if evidence is not None:
        storage.write(EVIDENCE, evidence.to_bytes())
        if settings.publish:
            with _open_routing(settings) as routing:
                routing.publish_evidence(evidence)
    return JobResult(evaluation, storage.location(REPORT))


def _open_routing(settings: OutcomesSettings) -> RoutingStore:
    trusted, signing = settings.routing_trusted_keys_file, settings.evidence_signing_key_file
    return RoutingStore(settings, DocumentKeys.read(trusted=trusted), DocumentKeys.read(signing=signing))


def evaluate(settings: OutcomesSettings, document: RoutingDocument | None) -> Evaluation:
    """Return the evaluation of the arms of a routing document, or of those that the predictions name."""
    with TemporaryDirectory(prefix="reprise-outcomes-", dir=settings.work_dir) as name:
        folder = Path(name)
        with progress("Reading the offline store", None, "records") as reading:
            snapshot = take_snapshot(settings, folder, reading.advance)
        with connect(memory_limit=settings.memory_limit, temp_directory=folder / "spill") as connection:
            return _evaluate(connection, snapshot, folder, settings, document)


def _evaluate(
    connection: Any,
    snapshot: ArchiveSnapshot,
    folder: Path,
    settings: OutcomesSettings,
    document: RoutingDocument | None,
) -> Evaluation:
    with progress("Joining predictions with outcomes", snapshot.prediction_count, "predictions") as joining:
        open_predictions(connection, snapshot)
        arms = arms_of_document(document) if document is not None else arms_of_predictions(connection)
        bundles = _fetch_bundles(connection, arms, settings)
        horizon_us, outcome = _label(arms, bundles, settings)
        join_outcomes(connection, snapshot, outcome, settings.senders)
        joining.advance(snapshot.prediction_count)
    until_us = snapshot.complete_until_us - outcome.refund_us
    with progress("Measuring", 2, "steps") as measuring:
        arm_results = measure_arms(connection, until_us, horizon_us, settings)
        tests = (
            run_candidate_tests(connection, until_us, arms, bundles, horizon_us, settings)
            if arms is not None
            else CandidateTests(notes=(_NO_BASELINE,))
        )
        measuring.advance()
        baseline = None if arms is None else bundles.get(arms.baseline.digest)
        drift = None
        if baseline is not None:
            drift = measure_drift(connection, baseline.digest, baseline.manifest, settings)
        measuring.advance()
    return Evaluation(
        computed_us=time.time_ns() // 1000,
        complete_until_us=until_us,
        since_us=tests.since_us,
        rollout=arms.rollout if arms is not None else None,
        alpha=settings.alpha / max(1, len(tests.candidates)),
        predictions=snapshot.prediction_count,
        broken=snapshot.broken,
        missing=snapshot.missing,
        baseline=arms.baseline if arms is not None else None,
        arms=arm_results,
        candidates=tests.candidates,
        ratio=tests.ratio,
        users=tests.users,
        consistency=_check_consistency(connection, snapshot, bundles, settings, folder),
        drift=drift,
        reproduction=tests.reproduction,
        notes=(*tests.notes, *_left_out(snapshot)),
    )


def _left_out(snapshot: ArchiveSnapshot) -> tuple[str, ...]:
    if not snapshot.other_horizons:
        return ()
    return (
        f"{snapshot.other_horizons:,} predictions for further horizons are left out: arms are compared by the horizon"
        " that their models answer by default.",
    )


def _check_consistency(
    connection: Any,
    snapshot: ArchiveSnapshot,
    bundles: Mapping[str, Bundle],
    settings: OutcomesSettings,
    folder: Path,
) -> Consistency:
    if not settings.check_rows:
        return Consistency()
    plans = {digest: Plan.from_dict(bundle.manifest.plan) for digest, bundle in bundles.items()}
    with progress("Recomputing features", settings.check_rows, "predictions") as checking:
        consistency = check_consistency(connection, snapshot, plans, settings, folder)
        checking.advance(consistency.predictions)
    return consistency


def _fetch_bundles(
    connection: Any, arms: ComparedArms | None, settings: OutcomesSettings
) -> dict[str, Bundle]:
    store = settings.open_models(settings.model_store)
    answered = connection.execute("SELECT DISTINCT digest FROM predictions").fetchall()
    compared = {arm.digest for arm in arms.arms} if arms is not None else set()
    bundles = {}
    for digest in sorted({digest for (digest,) in answered} | compared):
        try:
            bundles[digest] = store.fetch(digest)
        except BundleNotFoundError:
            continue
    return bundles


def _label(
    arms: ComparedArms | None, bundles: Mapping[str, Bundle], settings: OutcomesSettings
) -> tuple[int, Outcome]:
    """Return the horizon in microseconds and what is an outcome, of the settings or else of the arms' models."""
    digests = [arm.digest for arm in arms.arms] if arms is not None else list(bundles)
    manifests = {digest: bundles[digest].manifest for digest in digests if digest in bundles}
    if settings.horizon is None and not manifests:
        raise NothingArchivedError(
            f"{settings.model_store} has none of the models that answered, so the horizon is not known; set it with"
            " --horizon"
        )

    def common(name: str, value: Callable[[Manifest], Any], default: Any = None) -> Any:
        values = {digest: value(manifest) for digest, manifest in manifests.items()}
        if len(set(values.values())) > 1:
            raise LabelsDifferError(name, values)
        return next(iter(values.values()), default)

    horizon, refund = settings.horizon, settings.refund_window
    if horizon is None:
        horizon = common("horizon", lambda each: timedelta(seconds=each.horizon_seconds))
    if refund is None:
        refund = common(
            "refund window", lambda each: timedelta(seconds=each.refund_window_seconds), timedelta()
        )
    purchase_type = common("event type", lambda each: Plan.from_dict(each.plan).purchase_type, "purchase")
    return microseconds(horizon), Outcome(purchase_type, microseconds(refund))
