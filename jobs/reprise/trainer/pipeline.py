"""The training pipeline: from a file of events to a published bundle."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise.bundle import (
    EVALUATED,
    METADATA,
    MODEL_CARD,
    Bundle,
    BundleFiles,
    BundleStore,
    Digest,
    Manifest,
    Refit,
)
from reprise.event_files.options import ImportOptions
from reprise.features.plan import Plan
from reprise.runtime.durations import format_duration
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset, check_truth_file
from reprise.trainer.data.history import History, compute_dataset, read_history
from reprise.trainer.data.request_kinds import KindColumns
from reprise.trainer.exceptions import RolloutRefusedError
from reprise.trainer.model.fitted_model import FittedModel, fit_model
from reprise.trainer.promotion.baseline_comparison import compare_with_baseline
from reprise.trainer.promotion.candidate import Proposal, propose, serving_baseline
from reprise.trainer.promotion.rollout_api import KubernetesRollouts, RolloutApi, rollout_name
from reprise.trainer.publication.manifest import build_manifest, describe_data, describe_refit
from reprise.trainer.publication.metadata import Run, build_metadata
from reprise.trainer.publication.model_card import render_card
from reprise.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The outcome of one run: the published bundle, the path or URL of its card, and the proposal to a rollout."""

    digest: Digest
    manifest: Manifest
    refit: Refit
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
        history = read_history(settings, plan, import_options or ImportOptions(), Path(folder), durations)
        model = fit_model(history.dataset, history.split, plan.input_names, settings, KindColumns.of(plan))
        durations.update(model.durations)
        result = _publish(store, model, plan, history, Run(trained_at, durations, history.report, settings))
        if target is None:
            return result
        return replace(result, proposal=_propose(target, result, plan, history, Path(folder)))


def _publish(
    store: BundleStore, model: FittedModel, plan: Plan, history: History, run: Run
) -> TrainingResult:
    with progress("Publishing the bundle", 1, "bundles") as bar:
        refit = describe_refit(history, model)
        manifest = build_manifest(model, plan, run.settings, describe_data(history), refit)
        attachments = {
            EVALUATED: model.evaluated.graph,
            METADATA: build_metadata(model, manifest, refit, run),
            MODEL_CARD: render_card(model, manifest, refit, plan, run).encode(),
        }
        digest = store.publish(BundleFiles(manifest.to_bytes(), model.published.graph, attachments))
        if run.settings.set_latest and run.settings.rollout is None:
            store.set_latest(digest)
        bar.advance()
    return TrainingResult(digest, manifest, refit, store.location(digest, MODEL_CARD), run, model)


@dataclass(frozen=True, slots=True)
class _RolloutTarget:
    api: RolloutApi
    namespace: str
    name: str
    baseline: Bundle
    evaluated_model: bytes


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
    return _RolloutTarget(api, namespace, name, baseline, store.evaluated_model(baseline))


def _propose(
    target: _RolloutTarget, result: TrainingResult, plan: Plan, history: History, folder: Path
) -> Proposal:
    settings, comparison = result.run.settings, None
    if result.digest != target.baseline.digest:

        def compute_rows(other: Plan) -> Dataset:
            rows = folder / "baseline-rows.parquet"
            dataset, _ = compute_dataset(history.events, rows, other, settings, {}, None)
            return dataset.within(history.split.evaluation).at_events

        comparison = compare_with_baseline(
            result.model.predictions, plan, target.baseline, target.evaluated_model, compute_rows
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
