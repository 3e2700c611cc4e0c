"""``metadata.json``: when and how long a model was trained, and its evaluation, for people and dashboards."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from reprise.bundle import Manifest
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.events import format_timestamp
from reprise.runtime.durations import format_duration
from reprise.trainer.evaluation.buy_again import BuyAgainReport
from reprise.trainer.run import Run


def build_metadata(run: Run, manifest: Manifest) -> bytes:
    """Return the JSON of what may differ between two trainings of the same model, and of its evaluation."""
    model, refit, ranking, users = run.model, run.refit, run.ranking, run.users
    report, data = run.history.report, manifest.data
    content: dict[str, Any] = {
        "trained_at": run.trained_at.isoformat().replace("+00:00", "Z"),
        "duration_seconds": {name: round(seconds, 3) for name, seconds in run.durations.items()},
        "executor": run.history.executor,
        "horizon": format_duration(run.settings.default_horizon),
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
        "threshold_rule": manifest.parameters["threshold_rule"],
        "published": {
            "train": refit.train.model_dump(),
            "calibration": refit.calibration.model_dump(),
            "newest_row": refit.newest_row,
            "newest_row_age_days": round(run.age_days(refit.newest_row), 3),
            "threshold": manifest.threshold,
            "thresholds": {kind: verdict.threshold for kind, verdict in manifest.verdicts.items()},
        },
        "evaluated": {
            "train": data.train.model_dump(),
            "calibration": data.calibration.model_dump(),
            "evaluation": data.evaluation.model_dump(),
            "threshold": refit.evaluated_threshold,
        },
        "evaluation": model.evaluation.model_dump(mode="json"),
        "intervals": _known_intervals(model.intervals),
        "backtests": [
            {
                "start": format_timestamp(each.judged.start_us),
                "end": format_timestamp(each.judged.end_us),
                "trained_rows": each.trained_rows,
                "evaluation": each.evaluation.model_dump(mode="json"),
                "intervals": _known_intervals(each.intervals),
            }
            for each in model.backtests.found
        ],
        "backtests_ended": model.backtests.ended,
        "buy_again": None if ranking is None else _describe_ranking(ranking),
        "users": {"refused": users} if isinstance(users, str) else users.description.model_dump(mode="json"),
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
        "cross_validation": [asdict(score) for score in model.selection.candidates],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _known_intervals(intervals: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, list[float]]]:
    return {
        name: {
            score: [each.lower, each.upper] for score, each in scores.items() if not math.isnan(each.lower)
        }
        for name, scores in intervals.items()
    }


def _describe_ranking(ranking: BuyAgainReport) -> dict[str, Any]:
    def known(interval: Interval) -> dict[str, float | None]:
        return {name: None if math.isnan(value) else value for name, value in asdict(interval).items()}

    return {
        "instant": format_timestamp(ranking.instant_us),
        "users": ranking.users,
        "products": ranking.products,
        "rankings": {
            name: {
                metric: {**known(mean), "lead_of_the_model": known(lead)}
                for metric, (mean, lead) in found.items()
            }
            for name, found in ranking.rankings.items()
        },
    }
