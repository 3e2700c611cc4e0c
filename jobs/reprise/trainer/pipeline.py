"""The training pipeline: from a file of events to a published bundle."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise.bundle import (
    METADATA,
    MODEL_CARD,
    Bundle,
    BundleFiles,
    BundleStore,
    DataSnapshot,
    Digest,
    Manifest,
)
from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import ImportReport
from reprise.features.plan import Plan
from reprise.features.training_rows import build_training_rows
from reprise.runtime.durations import format_duration, timed
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset, check_truth_file, load_dataset
from reprise.trainer.data.fingerprint import events_sha256
from reprise.trainer.data.time_split import TimeSplit, split_by_time
from reprise.trainer.evaluation.held_out import MODEL
from reprise.trainer.exceptions import RolloutRefusedError, TrainingRefusedError
from reprise.trainer.model.fitted_model import FittedModel, fit_model
from reprise.trainer.promotion.baseline_comparison import Tolerance, compare_with_baseline
from reprise.trainer.promotion.candidate import Proposal, propose, serving_baseline
from reprise.trainer.promotion.rollout_api import KubernetesRollouts, RolloutApi, rollout_name
from reprise.trainer.publication.manifest import build_manifest, describe_data
from reprise.trainer.publication.metadata import Run, build_metadata
from reprise.trainer.publication.model_card import render_card
from reprise.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The outcome of one run: the published bundle, the path or URL of its card, and the proposal to a rollout."""

    digest: Digest
    manifest: Manifest
    card: str
    run: Run
    model: FittedModel
    proposal: Proposal | None = None


def train(
    settings: TrainerSettings,
    import_options: ImportOptions | None = None,
    open_rollouts: Callable[[], RolloutApi] = KubernetesRollouts,
) -> TrainingResult:
    """Train a model on a file of events and publish it as a bundle; with a rollout, propose it as its candidate.

    Args:
        settings: What to train on, how, and where the bundle goes.
        import_options: How to read the file of events; by default its columns have the canonical names.
        open_rollouts: Opens the API of the rollouts.

    Raises:
        TrainingRefusedError: The data is not enough to train on; says why and what would help.
        TrainerError: The truth, the rows or the exported model are at fault.
        EventFilesError: The file of events cannot be read.
        FeatureEngineError: The plan cannot be read, or the rows cannot be computed.
        BundleError: The store cannot be used.
        RolloutError: The rollout cannot be read or changed.
    """
    trained_at = datetime.now(tz=UTC)
    durations: dict[str, float] = {}
    plan = Plan.load(settings.plan)
    store = BundleStore(settings.out)
    if settings.truth is not None:
        check_truth_file(settings.truth)
    target = None if settings.rollout is None else _find_rollout(settings, store, open_rollouts)
    with tempfile.TemporaryDirectory(prefix="reprise-train-", dir=settings.work_dir) as folder:
        history = _read_history(settings, plan, import_options or ImportOptions(), Path(folder), durations)
        model = fit_model(history.dataset, history.split, plan.input_names, settings)
        durations.update(model.durations)
        result = _publish(
            store, model, plan, history.data, Run(trained_at, durations, history.report, settings)
        )
        if target is None:
            return result
        return replace(result, proposal=_propose(target, result, plan, history, Path(folder)))


@dataclass(frozen=True, slots=True)
class _History:
    events: Path
    report: ImportReport
    split: TimeSplit
    data: DataSnapshot
    dataset: Dataset


def _read_history(
    settings: TrainerSettings, plan: Plan, options: ImportOptions, folder: Path, durations: dict[str, float]
) -> _History:
    events, rows = folder / "events.parquet", folder / "rows.parquet"
    with timed(durations, "import"), progress("Reading the events", 1, "steps") as bar:
        report = import_events(
            settings.events,
            events,
            options=options,
            memory_limit=settings.memory_limit,
            temp_directory=folder,
        )
        if report.first_us is None or report.last_us is None:
            raise TrainingRefusedError("there are no events", "a file that holds some")
        split = split_by_time(report.first_us, report.last_us, settings.horizon)
        sha256 = events_sha256(events)
        bar.advance()
    dataset, labelled = _compute_dataset(events, rows, plan, settings, durations, report.rows_written)
    return _History(events, report, split, describe_data(report, sha256, labelled, dataset, split), dataset)


def _compute_dataset(
    events: Path,
    rows: Path,
    plan: Plan,
    settings: TrainerSettings,
    durations: dict[str, float],
    expected: int | None,
) -> tuple[Dataset, int]:
    """Return the rows of a plan, and how many of them are labelled."""
    with timed(durations, "rows"), progress("Computing training rows", expected, "rows") as bar:
        build_training_rows(
            events,
            rows,
            plan,
            settings.horizon,
            memory_limit=settings.memory_limit,
            temp_directory=rows.parent,
            advance=bar.advance,
        )
    with timed(durations, "load"), progress("Loading training rows", 1, "steps") as bar:
        loaded = load_dataset(
            rows,
            events,
            settings.truth,
            plan.input_names,
            max_rows=settings.max_rows,
            seed=settings.seed,
            memory_limit=settings.memory_limit,
        )
        bar.advance()
    return loaded


def _publish(
    store: BundleStore, model: FittedModel, plan: Plan, data: DataSnapshot, run: Run
) -> TrainingResult:
    with progress("Publishing the bundle", 1, "bundles") as bar:
        manifest = build_manifest(model, plan, run.settings, data)
        attachments = {
            METADATA: build_metadata(model, run),
            MODEL_CARD: render_card(model, manifest, plan, run).encode(),
        }
        digest = store.publish(BundleFiles(manifest.to_bytes(), model.graph, attachments))
        if run.settings.set_latest and run.settings.rollout is None:
            store.set_latest(digest)
        bar.advance()
    return TrainingResult(digest, manifest, store.location(digest, MODEL_CARD), run, model)


@dataclass(frozen=True, slots=True)
class _RolloutTarget:
    api: RolloutApi
    namespace: str
    name: str
    baseline: Bundle


def _find_rollout(
    settings: TrainerSettings, store: BundleStore, open_rollouts: Callable[[], RolloutApi]
) -> _RolloutTarget:
    """Return the rollout of the settings; before the training, which takes long."""
    namespace, name = rollout_name(settings.rollout or "")
    api = open_rollouts()
    baseline = store.fetch(serving_baseline(api.get(namespace, name)))
    horizon = timedelta(seconds=baseline.manifest.horizon_seconds)
    if horizon != settings.horizon:
        raise RolloutRefusedError(
            f"{namespace}/{name}",
            f"the horizon of its baseline is {format_duration(horizon)} and the horizon of this training is"
            f" {format_duration(settings.horizon)}: the two cannot be compared",
        )
    return _RolloutTarget(api, namespace, name, baseline)


def _propose(
    target: _RolloutTarget, result: TrainingResult, plan: Plan, history: _History, folder: Path
) -> Proposal:
    """Compare the new bundle with the baseline, and make it the candidate if it is not worse."""
    settings = result.run.settings
    comparison = None
    if result.digest != target.baseline.digest:

        def compute_rows(other: Plan) -> Dataset:
            rows = folder / "baseline-rows.parquet"
            dataset, _ = _compute_dataset(history.events, rows, other, settings, {}, None)
            return dataset.subset(history.split.evaluation.rows(dataset.timestamps_us))

        predictions = result.model.predictions
        tolerance = Tolerance(settings.rollout_brier_tolerance, settings.rollout_auc_tolerance)
        comparison = compare_with_baseline(
            predictions.rows, predictions.by_scorer[MODEL], plan, target.baseline, compute_rows, tolerance
        )
    return propose(
        target.api,
        target.namespace,
        target.name,
        candidate=settings.rollout_candidate,
        digest=result.digest,
        traffic_percent=settings.rollout_percent,
        comparison=comparison,
    )
