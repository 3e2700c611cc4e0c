"""One run: read both topics, join, measure, test, check, and tell."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reprise.archive import OfflineStore
from reprise.bundle import Bundle, BundleNotFoundError, BundleStore
from reprise.features.plan import Plan
from reprise.outcomes.comparison.candidate_tests import Judged, judge, measure_arms
from reprise.outcomes.evaluation import Findings, Reproduction
from reprise.outcomes.exceptions import HorizonsDifferError, NothingArchivedError
from reprise.outcomes.features.feature_consistency import Consistency, check_consistency
from reprise.outcomes.features.feature_drift import Drift, feature_drift
from reprise.outcomes.metrics import exposition
from reprise.outcomes.report.evidence import build_evidence
from reprise.outcomes.report.report_page import render_html, render_json
from reprise.outcomes.settings import OutcomesSettings
from reprise.outcomes.tables.archive_snapshot import Gathered, gather
from reprise.outcomes.tables.compared_arms import Comparison, from_document, from_predictions
from reprise.outcomes.tables.outcome_join import join_outcomes
from reprise.routing import RoutingDocument
from reprise.routing.store import RoutingStore
from reprise.runtime.durations import microseconds
from reprise.runtime.progress import progress
from reprise.runtime.storage import open_storage
from reprise.sql import connect

REPORT, DATA, EVIDENCE, METRICS = "report.html", "report.json", "evidence.json", "metrics.prom"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run found, and where its report is."""

    findings: Findings
    report: str


def run(settings: OutcomesSettings) -> Ran:
    """Judge the archived predictions, write the report and the metrics, and publish the evidence.

    Raises:
        NothingArchivedError: There are no predictions or no events yet, or no model says the horizon.
        HorizonsDifferError: The arms' models predict over different horizons.
        OfflineStoreError: The offline store cannot be read, or lacks events.
        BundleError: The model store cannot be read.
        StoreError: Redis is away.
        InvalidRoutingError: The routing document breaks its format.
        FeatureEngineError: No event makes features.
    """
    document = None
    if settings.publish:
        with RoutingStore(settings) as routing:
            document = routing.document()
    findings = find(settings, document)
    place = open_storage(settings.out)
    place.write(DATA, render_json(findings))
    place.write(REPORT, render_html(findings).encode())
    place.write(METRICS, exposition(findings))
    evidence = build_evidence(findings)
    if evidence is not None:
        place.write(EVIDENCE, evidence.to_bytes())
        if settings.publish:
            with RoutingStore(settings) as routing:
                routing.publish_evidence(evidence)
    return Ran(findings, place.location(REPORT))


def find(settings: OutcomesSettings, document: RoutingDocument | None) -> Findings:
    """Return what the archive says of the arms of a routing document, or of those that predictions name."""
    with TemporaryDirectory(prefix="reprise-outcomes-", dir=settings.work_dir) as name:
        folder = Path(name)
        with progress("Reading the offline store", None, "records") as reading:
            gathered = gather(
                OfflineStore(settings.offline_store),
                folder,
                history=settings.events,
                lateness=settings.lateness,
                lookback=settings.lookback,
                memory_limit=settings.memory_limit,
                advance=reading.advance,
            )
        with connect(memory_limit=settings.memory_limit, temp_directory=folder / "spill") as connection:
            return _find(connection, gathered, folder, settings, document)


def _find(
    connection: Any,
    gathered: Gathered,
    folder: Path,
    settings: OutcomesSettings,
    document: RoutingDocument | None,
) -> Findings:
    with progress("Joining predictions with outcomes", gathered.prediction_count, "predictions") as joining:
        join_outcomes(connection, gathered)
        joining.advance(gathered.prediction_count)
    comparison = from_document(document) if document is not None else from_predictions(connection)
    bundles = _bundles(connection, comparison, settings)
    horizon_us = _horizon_us(comparison, bundles, settings)
    with progress("Measuring", 2, "steps") as measuring:
        arms = measure_arms(connection, gathered, horizon_us, settings)
        judged = (
            judge(connection, gathered, comparison, bundles, horizon_us, settings)
            if comparison is not None
            else _unjudged()
        )
        measuring.advance()
        drift = _drift(connection, comparison, bundles, settings)
        measuring.advance()
    consistency = _consistency(connection, gathered, bundles, settings, folder)
    return Findings(
        computed_us=time.time_ns() // 1000,
        complete_until_us=gathered.complete_until_us,
        since_us=judged.since_us,
        rollout=comparison.rollout if comparison is not None else None,
        alpha=settings.alpha / max(1, len(judged.candidates)),
        predictions=gathered.prediction_count,
        broken=gathered.broken,
        missing=gathered.missing,
        baseline=comparison.baseline if comparison is not None else None,
        arms=arms,
        candidates=judged.candidates,
        ratio=judged.ratio,
        users=judged.users,
        consistency=consistency,
        drift=drift,
        reproduction=judged.reproduction,
        notes=judged.notes,
    )


def _drift(
    connection: Any, comparison: Comparison | None, bundles: Mapping[str, Bundle], settings: OutcomesSettings
) -> Drift | None:
    """Return the drift of the baseline's inputs, as far as the baseline and its bundle are known."""
    if comparison is None or comparison.baseline.digest not in bundles:
        return None
    digest = comparison.baseline.digest
    return feature_drift(connection, digest, bundles[digest].manifest, settings)


def _consistency(
    connection: Any,
    gathered: Gathered,
    bundles: Mapping[str, Bundle],
    settings: OutcomesSettings,
    folder: Path,
) -> Consistency:
    if not settings.check_rows:
        return Consistency()
    plans = {digest: Plan.from_dict(bundle.manifest.plan) for digest, bundle in bundles.items()}
    with progress("Recomputing features", settings.check_rows, "predictions") as checking:
        consistency = check_consistency(connection, gathered, plans, settings, folder)
        checking.advance(consistency.predictions)
    return consistency


def _unjudged() -> Judged:
    note = "No prediction is of the baseline's arm, so nothing is compared."
    return Judged((), None, {}, None, Reproduction(), (note,))


def _bundles(connection: Any, comparison: Comparison | None, settings: OutcomesSettings) -> dict[str, Bundle]:
    """Return the bundles of all models that answered or are to, as far as the model store has them."""
    store = BundleStore(settings.model_store)
    answered = connection.execute("SELECT DISTINCT digest FROM scored").fetchall()
    compared = [arm.digest for arm in comparison.arms] if comparison is not None else []
    found = {}
    for digest in sorted({digest for (digest,) in answered} | set(compared)):
        try:
            found[digest] = store.fetch(digest)
        except BundleNotFoundError:
            continue
    return found


def _horizon_us(
    comparison: Comparison | None, bundles: Mapping[str, Bundle], settings: OutcomesSettings
) -> int:
    if settings.horizon is not None:
        return microseconds(settings.horizon)
    asked = [arm.digest for arm in comparison.arms] if comparison is not None else list(bundles)
    horizons = {digest: bundles[digest].manifest.horizon_seconds for digest in asked if digest in bundles}
    if not horizons:
        raise NothingArchivedError(
            f"{settings.model_store} has none of the models that answered, so nobody says how far ahead a purchase"
            " counts; name it with --horizon"
        )
    if len(set(horizons.values())) > 1:
        raise HorizonsDifferError(horizons)
    return next(iter(horizons.values())) * 1_000_000
