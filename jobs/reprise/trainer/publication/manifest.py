"""The manifest of a fitted model: its data, its parameters, and what a predictor needs."""

import platform
from dataclasses import asdict
from importlib.metadata import version

from reprise.bundle import DataSnapshot, InputColumn, Manifest, ModelFile, Refit, sha256_hex
from reprise.events import format_timestamp
from reprise.trainer.data.history import History
from reprise.trainer.model.fitted_model import FittedModel
from reprise.trainer.model.onnx_graph import INPUT, OPSETS, OUTPUT
from reprise.trainer.run import Run

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "reprise", "scikit-learn")


def _describe_data(history: History) -> DataSnapshot:
    """Return the description of the events and of the evaluated model's rows."""
    report, dataset, split = history.report, history.dataset, history.split
    return DataSnapshot(
        events_sha256=history.sha256,
        events=report.rows_written,
        first=format_timestamp(report.first_us or 0),
        last=format_timestamp(report.last_us or 0),
        labelled_rows=history.labelled_rows,
        sampled_rows=len(dataset),
        train=dataset.window(split.train),
        calibration=dataset.window(split.calibration),
        evaluation=dataset.window(split.evaluation),
    )


def describe_refit(history: History, model: FittedModel) -> Refit:
    """Return what the published model was grown and calibrated on."""
    dataset, split = history.dataset, history.split
    return Refit(
        train=dataset.window(split.refit),
        newest_row=format_timestamp(int(dataset.timestamps_us[-1])),
        calibration=dataset.window(split.refit_calibration),
        evaluated_sha256=sha256_hex(model.evaluated.graph),
        evaluated_threshold=model.evaluated.thresholds.overall,
    )


def build_manifest(run: Run) -> Manifest:
    """Return the manifest, which does not depend on when, where or how fast the model was trained."""
    model, plan, settings, published = run.model, run.plan, run.settings, run.model.published
    trees = [estimator.tree_ for forest in published.forest.parts for estimator in forest.estimators_]
    parameters = {
        "model": "RandomForestClassifier",
        "class_weight": "balanced",
        "missing_values": "native",
        "calibration": "beta",
        "forests": len(published.forest.parts),
        "threshold_rule": settings.threshold_rule if settings.threshold is None else "fixed",
        "nodes": sum(int(tree.node_count) for tree in trees),
        "depth": max(int(tree.max_depth) for tree in trees),
        "cv_folds": model.selection.folds,
        "max_rows": settings.max_rows,
        **asdict(model.selection.parameters),
    }
    return Manifest(
        model=ModelFile(
            sha256=sha256_hex(published.graph),
            size=len(published.graph),
            opsets={domain or "ai.onnx": number for domain, number in OPSETS.items()},
            input=INPUT,
            output=OUTPUT,
        ),
        schema_hash=plan.schema_hash,
        plan_hash=plan.hash,
        plan=plan.to_dict(),
        inputs=tuple(InputColumn(name=name) for name in plan.input_names),
        horizon_seconds=round(settings.default_horizon.total_seconds()),
        refund_window_seconds=round(settings.refund_window.total_seconds()),
        threshold=published.thresholds.overall,
        verdicts=dict(model.verdicts),
        seed=settings.seed,
        parameters=parameters,
        calibration=published.calibration.coefficients(),
        evaluation=model.evaluation,
        importances=model.importances,
        data=_describe_data(run.history),
        refit=run.refit,
        users=None if isinstance(run.users, str) else run.users.description,
        horizons=run.horizons.descriptions,
        parity=published.parity,
        score_histogram=model.score_histogram,
        feature_histograms=model.feature_histograms,
        libraries={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    )
