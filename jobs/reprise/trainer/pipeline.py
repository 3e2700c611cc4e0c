"""The training pipeline: from a file of events to a published bundle."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from reprise.bundle import (
    EVALUATED,
    EVALUATED_USERS,
    METADATA,
    MODEL_CARD,
    USERS,
    Bundle,
    BundleCorruptError,
    BundleFiles,
    BundleNotFoundError,
    BundleStore,
    Digest,
    InvalidBundleError,
    Manifest,
    UntrustedBundleError,
    UnusableModelError,
)
from reprise.event_files.options import ImportOptions
from reprise.features.exceptions import FeatureEngineError, PlanError
from reprise.features.plan import Plan
from reprise.features.request_kinds import KindColumns
from reprise.runtime.durations import format_duration, timed
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset, check_truth_file
from reprise.trainer.data.history import History, compute_dataset, read_history
from reprise.trainer.evaluation.buy_again import evaluate_buy_again
from reprise.trainer.exceptions import RolloutRefusedError, TrainingRefusedError
from reprise.trainer.model.fitted_model import fit_model
from reprise.trainer.model.horizons import check_horizons, fit_horizons
from reprise.trainer.model.onnx_graph import score_rows
from reprise.trainer.promotion.baseline_comparison import BaselineComparison, compare_with_baseline
from reprise.trainer.promotion.candidate import Proposal, propose, serving_baseline
from reprise.trainer.promotion.rollout_api import KubernetesRollout, RolloutApi
from reprise.trainer.publication.manifest import build_manifest, describe_refit
from reprise.trainer.publication.metadata import build_metadata
from reprise.trainer.publication.model_card import render_card
from reprise.trainer.run import Run
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.users.model import FittedUserModel, train_user_model


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The outcome of one run: the published bundle, the path or URL of its card, and whether it shall serve."""

    digest: Digest
    manifest: Manifest
    card: str
    run: Run
    proposal: Proposal | None = None
    # Whether it is the store's latest, and why; None if that was not asked for
    latest: str | None = None


def train(
    settings: TrainerSettings,
    import_options: ImportOptions | None = None,
    open_rollout: Callable[[str], RolloutApi] = KubernetesRollout,
) -> TrainingResult:
    """Train a model on a file of events and publish it as a bundle: the store's latest, or a rollout's candidate.

    Args:
        settings: What to train on, how, and where the bundle goes.
        import_options: How to read the file of events; by default its columns have the canonical names.
        open_rollout: Opens the API of a rollout by its name.

    Raises:
        TrainingRefusedError: The data is not enough to train on; says why and what would help.
        TrainerError: The truth, the rows or the exported model are at fault.
        EventFilesError: The file of events cannot be read.
        FeatureEngineError: The plan cannot be read, or the rows cannot be computed.
        BundleError: The store cannot be used.
        RolloutError: The rollout cannot be read or changed.
    """
    started = datetime.now(tz=UTC)
    plan = Plan.load(settings.plan)
    store = settings.open_models(settings.out, settings.signing_key_file)
    if settings.truth is not None:
        check_truth_file(settings.truth)
    rollout = None if settings.rollout is None else open_rollout(settings.rollout)
    if rollout is None:
        serving, alone = _latest(settings, plan, store)
    else:
        serving, alone = _serving_in(rollout, settings, plan, store), ""
    with tempfile.TemporaryDirectory(prefix="reprise-train-", dir=settings.work_dir) as folder:
        run = _fit(started, settings, plan, import_options or ImportOptions(), Path(folder))
        result = _publish(store, run)
        comparison = None
        if serving is not None and serving.bundle.digest != result.digest:
            try:
                comparison = _compare(serving, run, Path(folder))
            except (FeatureEngineError, UnusableModelError) as error:
                if rollout is not None:
                    raise
                alone = str(error)
    if rollout is not None:
        name, percent = settings.rollout_candidate, settings.rollout_percent
        return replace(result, proposal=propose(rollout, name, result.digest, percent, comparison))
    if not settings.set_latest:
        return result
    return replace(result, latest=_set_latest(store, result, comparison, alone))


def _fit(
    started: datetime, settings: TrainerSettings, plan: Plan, import_options: ImportOptions, folder: Path
) -> Run:
    """Fit all models of the bundle on the events of the settings, whose rows are computed in the folder."""
    durations: dict[str, float] = {}
    history = read_history(settings, plan, import_options, folder, durations)
    check_horizons(history)
    model = fit_model(history.dataset, history.split, plan.input_names, settings, KindColumns.of(plan))
    durations.update(model.durations)
    score, start_us = partial(score_rows, model.evaluated.scorer), history.split.evaluation.start_us
    with timed(durations, "rank"), progress("Ranking users' products", 1, "steps") as bar:
        ranking = evaluate_buy_again(history.events, plan, score, start_us, settings, folder)
        bar.advance()
    users = _train_users(history, plan, settings, durations)
    horizons = fit_horizons(history, model, KindColumns.of(plan), settings, durations)
    refit = describe_refit(history, model)
    return Run(started, durations, settings, plan, history, model, refit, horizons, ranking, users)


def _train_users(
    history: History, plan: Plan, settings: TrainerSettings, durations: dict[str, float]
) -> FittedUserModel | str:
    """Return the users' model; or why the data is not enough for one, which is no reason to publish nothing."""
    try:
        with timed(durations, "users"):
            return train_user_model(history, plan, settings)
    except TrainingRefusedError as error:
        return error.reason


def _publish(store: BundleStore, run: Run) -> TrainingResult:
    with progress("Publishing the bundle", 1, "bundles") as bar:
        manifest = build_manifest(run)
        attachments = {
            EVALUATED: run.model.evaluated.graph,
            **run.horizons.graphs,
            METADATA: build_metadata(run, manifest),
            MODEL_CARD: render_card(run, manifest).encode(),
        }
        if isinstance(run.users, FittedUserModel):
            attachments |= {USERS: run.users.published, EVALUATED_USERS: run.users.evaluated}
        digest = store.publish(BundleFiles(manifest.to_bytes(), run.model.published.graph, attachments))
        bar.advance()
    return TrainingResult(digest, manifest, store.location(digest, MODEL_CARD), run)


@dataclass(frozen=True, slots=True)
class _Serving:
    bundle: Bundle
    evaluated_model: bytes


def _serving_in(rollout: RolloutApi, settings: TrainerSettings, plan: Plan, store: BundleStore) -> _Serving:
    """Return the baseline of a rollout to compare with; before the training, which takes long."""
    baseline = store.fetch(serving_baseline(rollout.get()))
    if differing := _other_label(settings, plan, baseline):
        raise RolloutRefusedError(rollout.name, f"{differing}: the two cannot be compared")
    return _Serving(baseline, store.evaluated_model(baseline))


def _latest(settings: TrainerSettings, plan: Plan, store: BundleStore) -> tuple[_Serving | None, str]:
    """Return the store's latest to compare with, or why there is none."""
    if not (settings.set_latest and settings.keep_better_latest):
        return None, "--no-keep-better-latest"
    try:
        bundle = store.fetch(store.latest())
        if differing := _other_label(settings, plan, bundle):
            return None, differing
        return _Serving(bundle, store.evaluated_model(bundle)), ""
    except (
        BundleNotFoundError,
        BundleCorruptError,
        InvalidBundleError,
        UntrustedBundleError,
        PlanError,
    ) as error:
        return None, str(error)


def _other_label(settings: TrainerSettings, plan: Plan, bundle: Bundle) -> str | None:
    """Return how the label of a bundle differs from that of this training, ``None`` if it does not."""
    manifest = bundle.manifest
    for name, theirs, own in (
        ("event type", Plan.from_dict(manifest.plan).purchase_type, plan.purchase_type),
        ("horizon", *_durations(manifest.horizon_seconds, settings.default_horizon)),
        ("refund window", *_durations(manifest.refund_window_seconds, settings.refund_window)),
    ):
        if theirs != own:
            return f"the {name} of {bundle.digest} is {theirs}, and that of this training {own}"
    return None


def _durations(seconds: int, own: timedelta) -> tuple[str, str]:
    return format_duration(timedelta(seconds=seconds)), format_duration(own)


def _compare(serving: _Serving, run: Run, folder: Path) -> BaselineComparison:
    def compute_rows(other: Plan) -> Dataset:
        rows, history = folder / "baseline-rows.parquet", run.history
        dataset, _, _ = compute_dataset(history.events, rows, other, run.settings, {}, history.executor, None)
        return dataset.within(history.split.evaluation).at_events

    return compare_with_baseline(
        run.model.predictions, run.plan, serving.bundle, serving.evaluated_model, compute_rows
    )


def _set_latest(
    store: BundleStore, result: TrainingResult, comparison: BaselineComparison | None, alone: str
) -> str:
    """Mark the bundle as the latest unless it is shown to be worse; return whether it is, and why."""
    if comparison is not None and comparison.losses:
        return f"no, {comparison.baseline} stays: {'; '.join(comparison.losses)}"
    store.set_latest(result.digest)
    if comparison is None:
        return f"yes, without a comparison: {alone or 'it was the latest'}"
    if not comparison.metrics:
        return f"yes, without a comparison: {comparison.objections[0]}"
    return f"yes, not shown to be worse than {comparison.baseline}"
