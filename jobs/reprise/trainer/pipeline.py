"""One training run: from a file of events to a published bundle."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

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
from reprise.event_files import ImportOptions, ImportReport
from reprise.event_files.importer import import_events
from reprise.features.plan import Plan
from reprise.features.training_rows import build_training_rows
from reprise.runtime.durations import format_duration
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import TrainingTable
from reprise.trainer.data.dataset_reader import check_truth_file, load_table
from reprise.trainer.data.fingerprint import events_sha256
from reprise.trainer.data.time_split import TimeSplit, split_by_time
from reprise.trainer.evaluation.held_out import MODEL
from reprise.trainer.exceptions import RolloutRefusedError, TrainingRefusedError
from reprise.trainer.model.fitted_model import FitOptions, FittedModel, fit_model
from reprise.trainer.promotion.baseline_comparison import Tolerance, compare_with_baseline
from reprise.trainer.promotion.candidate import serving_baseline
from reprise.trainer.promotion.proposal import Proposal, propose
from reprise.trainer.promotion.rollout_api import KubernetesRollouts, RolloutApi, rollout_name
from reprise.trainer.publication.manifest import build_manifest, describe_data
from reprise.trainer.publication.metadata import Run, build_metadata
from reprise.trainer.publication.model_card import render_card
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.stopwatch import timed


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run made.

    Attributes:
        digest: Address of the published bundle.
        manifest: Its manifest.
        card: Where the model card lies, a path or a URL.
        run: When, how long, and from what.
        model: The model and everything the report was made of.
        proposal: What became of it in a rollout; None without one.
    """

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
        import_options: How to understand the file of events; by default as the canonical names say.
        open_rollouts: Opens the API that rollouts are read and changed by.

    Raises:
        TrainingRefusedError: The data cannot be learnt from; says why and what would help.
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
    rollout = _Rollout.find(settings, store, open_rollouts)
    with tempfile.TemporaryDirectory(prefix="reprise-train-", dir=settings.work_dir) as folder:
        history = _read_history(settings, plan, import_options or ImportOptions(), Path(folder), durations)
        options = FitOptions(
            input_names=plan.input_names,
            horizon=settings.horizon,
            seed=settings.seed,
            jobs=settings.jobs,
            cv_folds=settings.cv_folds,
            threshold=settings.threshold,
        )
        model = fit_model(history.table, history.split, options)
        durations.update(model.durations)
        result = _publish(
            store, model, plan, history.data, Run(trained_at, durations, history.report, settings)
        )
        if rollout is None:
            return result
        return replace(result, proposal=rollout.propose(result, plan, history, Path(folder)))


@dataclass(frozen=True, slots=True)
class _History:
    events: Path
    report: ImportReport
    split: TimeSplit
    data: DataSnapshot
    table: TrainingTable


def _read_history(
    settings: TrainerSettings, plan: Plan, options: ImportOptions, folder: Path, durations: dict[str, float]
) -> _History:
    events, rows = folder / "events.parquet", folder / "rows.parquet"
    with _step(durations, "import", "Reading the events"):
        report = import_events(
            settings.events,
            events,
            options=options,
            memory_limit=settings.memory_limit,
            temp_directory=folder,
        )
        split = _split(report, settings)
        sha256 = events_sha256(events)
    with (
        timed(durations, "rows"),
        progress("Computing training rows", report.rows_written, "rows") as bar,
    ):
        _build_rows(events, rows, plan, settings, bar.advance)
    with _step(durations, "load", "Loading training rows"):
        table, labelled = _load_rows(rows, events, plan, settings)
    return _History(events, report, split, describe_data(report, sha256, labelled, table, split), table)


def _build_rows(
    events: Path, rows: Path, plan: Plan, settings: TrainerSettings, advance: Callable[[int], None]
) -> None:
    build_training_rows(
        events,
        rows,
        plan,
        settings.horizon,
        memory_limit=settings.memory_limit,
        temp_directory=rows.parent,
        advance=advance,
    )


def _load_rows(rows: Path, events: Path, plan: Plan, settings: TrainerSettings) -> tuple[TrainingTable, int]:
    return load_table(
        rows,
        events,
        settings.truth,
        plan.input_names,
        max_rows=settings.max_rows,
        seed=settings.seed,
        memory_limit=settings.memory_limit,
    )


@dataclass(frozen=True, slots=True)
class _Rollout:
    """The rollout that a bundle is proposed to, and the model that serves there."""

    settings: TrainerSettings
    api: RolloutApi
    namespace: str
    name: str
    baseline: Bundle

    @classmethod
    def find(
        cls, settings: TrainerSettings, store: BundleStore, open_rollouts: Callable[[], RolloutApi]
    ) -> Self | None:
        """Return the rollout of the settings; looked for before the training, which takes long."""
        if settings.rollout is None:
            return None
        namespace, name = rollout_name(settings.rollout)
        api = open_rollouts()
        baseline = store.fetch(serving_baseline(api.get(namespace, name)))
        theirs = timedelta(seconds=baseline.manifest.horizon_seconds)
        if theirs != settings.horizon:
            raise RolloutRefusedError(
                f"{namespace}/{name}",
                f"its baseline predicts over {format_duration(theirs)}, and this training is for"
                f" {format_duration(settings.horizon)}: the two cannot be compared",
            )
        return cls(settings, api, namespace, name, baseline)

    def propose(self, result: TrainingResult, plan: Plan, history: _History, folder: Path) -> Proposal:
        """Compare the new bundle with the baseline, and make it the candidate if it is not worse."""
        settings = self.settings
        comparison = None
        if result.digest != self.baseline.digest:
            evaluation = history.split.evaluation

            def rows_of(other: Plan) -> TrainingTable:
                rows = folder / "baseline-rows.parquet"
                with progress("Computing rows of the baseline's plan", None, "rows") as bar:
                    _build_rows(history.events, rows, other, settings, bar.advance)
                table, _ = _load_rows(rows, history.events, other, settings)
                return table.part(evaluation.rows(table.timestamps_us))

            answers = result.model.answers
            tolerance = Tolerance(settings.rollout_brier_tolerance, settings.rollout_auc_tolerance)
            comparison = compare_with_baseline(
                answers.table, answers.by[MODEL], plan, self.baseline, rows_of, tolerance
            )
        return propose(
            self.api,
            self.namespace,
            self.name,
            candidate=settings.rollout_candidate,
            digest=result.digest,
            traffic_percent=settings.rollout_percent,
            comparison=comparison,
        )


def _split(report: ImportReport, settings: TrainerSettings) -> TimeSplit:
    if report.first_us is None or report.last_us is None:
        raise TrainingRefusedError("there are no events", "a file that holds some")
    return split_by_time(report.first_us, report.last_us, settings.horizon)


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


@contextmanager
def _step(durations: dict[str, float], name: str, description: str) -> Iterator[None]:
    with timed(durations, name), progress(description, 1, "steps") as bar:
        yield
        bar.advance()
