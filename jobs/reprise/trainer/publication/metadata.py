"""``metadata.json``: when and how long a model was trained, and its evaluation, for people and dashboards."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reprise.event_files.report import ImportReport
from reprise.events import format_timestamp
from reprise.runtime.durations import format_duration
from reprise.trainer.model.fitted_model import FittedModel
from reprise.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    Attributes:
        trained_at: When it started, UTC.
        durations: Seconds by step, in the order of the steps.
        report: The report of the events' import.
        settings: The run's settings.
    """

    trained_at: datetime
    durations: Mapping[str, float]
    report: ImportReport
    settings: TrainerSettings


def build_metadata(model: FittedModel, run: Run) -> bytes:
    """Return the JSON of what may differ between two trainings of the same model, and of its evaluation."""
    report = run.report
    content: dict[str, Any] = {
        "trained_at": run.trained_at.isoformat().replace("+00:00", "Z"),
        "duration_seconds": {name: round(seconds, 3) for name, seconds in run.durations.items()},
        "horizon": format_duration(run.settings.horizon),
        "events": {
            "files": [path.name for path in report.files],
            "rows_read": report.rows_read,
            "rows_kept": report.rows_written,
            "rows_dropped": report.bad_rows,
            "dropped_by_reason": dict(report.dropped),
            "repeated_event_ids": report.repeated_event_ids,
            "notes": list(report.notes),
        },
        "truth": run.settings.truth.name if run.settings.truth else None,
        "evaluation": model.evaluation.model_dump(mode="json"),
        "over_time": [
            {
                "start": format_timestamp(part.span.start_us),
                "end": format_timestamp(part.span.end_us),
                "rows": part.rows,
                "positive_share": part.positive_share,
                "mean_probability": part.mean_probability,
                "roc_auc": dict(part.aucs),
            }
            for part in model.time_slices
        ],
        "cross_validation": [
            {**score.parameters.as_dict(), "roc_auc": list(score.aucs)}
            for score in model.selection.candidates
        ],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
