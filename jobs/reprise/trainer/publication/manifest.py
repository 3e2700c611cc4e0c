"""The manifest of a fitted model: its data, its parameters, and what a predictor needs."""

import platform
from importlib.metadata import version

from reprise.bundle import DataSnapshot, InputColumn, Manifest, ModelFile, Window, sha256_hex
from reprise.event_files.report import ImportReport
from reprise.events import format_timestamp
from reprise.features.plan import Plan
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.data.time_split import Span, TimeSplit
from reprise.trainer.model.fitted_model import FittedModel
from reprise.trainer.model.onnx_graph import INPUT, OPSETS, OUTPUT
from reprise.trainer.settings import TrainerSettings

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "reprise", "scikit-learn")


def describe_data(
    report: ImportReport, sha256: str, labelled_rows: int, dataset: Dataset, split: TimeSplit
) -> DataSnapshot:
    """Return the description of the imported events and the rows computed from them."""
    return DataSnapshot(
        events_sha256=sha256,
        events=report.rows_written,
        first=format_timestamp(report.first_us or 0),
        last=format_timestamp(report.last_us or 0),
        labelled_rows=labelled_rows,
        sampled_rows=len(dataset),
        train=_window(dataset, split.train),
        calibration=_window(dataset, split.calibration),
        evaluation=_window(dataset, split.evaluation),
    )


def build_manifest(model: FittedModel, plan: Plan, settings: TrainerSettings, data: DataSnapshot) -> Manifest:
    """Return the manifest, which does not depend on when, where or how fast the model was trained."""
    parameters = {
        "model": "RandomForestClassifier",
        "class_weight": "balanced",
        "missing_values": "native",
        "calibration": "beta",
        "threshold_rule": "best F1 on calibration rows" if settings.threshold is None else "fixed",
        "nodes": model.nodes,
        "depth": model.depth,
        "cv_folds": model.selection.folds,
        "max_rows": settings.max_rows,
        **model.selection.parameters.as_dict(),
    }
    return Manifest(
        model=ModelFile(
            sha256=sha256_hex(model.graph),
            size=len(model.graph),
            opsets={domain or "ai.onnx": number for domain, number in OPSETS.items()},
            input=INPUT,
            output=OUTPUT,
        ),
        schema_hash=plan.schema_hash,
        plan_hash=plan.hash,
        plan=plan.to_dict(),
        inputs=tuple(InputColumn(name=name) for name in plan.input_names),
        horizon_seconds=round(settings.horizon.total_seconds()),
        threshold=model.threshold,
        seed=settings.seed,
        parameters=parameters,
        calibration={"a": model.calibration.a, "b": model.calibration.b, "c": model.calibration.c},
        evaluation=model.evaluation,
        importances=model.importances,
        data=data,
        parity=model.parity,
        score_histogram=model.score_histogram,
        feature_histograms=model.feature_histograms,
        libraries={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    )


def _window(dataset: Dataset, span: Span) -> Window:
    rows = dataset.subset(span.rows(dataset.timestamps_us))
    return Window(
        start=format_timestamp(span.start_us),
        end=format_timestamp(span.end_us),
        rows=len(rows),
        positives=rows.positives,
    )
