"""The files of ``reprise retention``: columns, manifest, and the summary that is printed from it."""

from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
from pydantic import AwareDatetime

from reprise.runtime.durations import format_duration
from reprise.scoring.output import ManifestModel, RunManifest, in_sample_warning

FOLDER = "retention"
AT_RISK = 0.2
"""A user is at risk whose probability fell by at least this much within one horizon."""

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("probability", pa.float32()),
        ("probability_before", pa.float32()),  # One horizon earlier; null if nothing was bought before that
        ("drop", pa.float32()),  # The difference; above 0 if it fell
        ("usual_gap_days", pa.float64()),  # Median between days with a purchase; null with one such day
        ("days_since_last", pa.float64()),
        ("purchases", pa.int64()),
        # Mean spend of the horizons with a purchase; null if no amount is known
        ("value", pa.float64()),
        ("last_purchase", pa.timestamp("us", "UTC")),
    ]
)


class Band(ManifestModel):
    """The users whose probability is at least ``low`` and below ``high``; the last band includes 1."""

    low: float
    high: float
    users: int
    expected_buyers: float
    at_risk: int
    expected_spend: float  # Sum of probability times value


class Backtest(ManifestModel):
    """The probabilities at an earlier instant, and what users did within the horizon."""

    at: AwareDatetime
    users: int
    expected_buyers: float
    buyers: int
    roc_auc: float | None  # None if all or none bought, as the next
    recency_roc_auc: float | None  # Of the days since the last purchase alone
    brier: float
    calibration_error: float
    in_sample: bool  # Whether the model has learnt from the outcome


class RetentionManifest(RunManifest):
    """What a directory of users' probabilities holds."""

    users: int
    bands: list[Band]
    wanted_backtests: int
    backtests: list[Backtest]  # The earliest first
    model_knows_until: str  # Time of the last event that the model has learnt from


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """The manifest and its location, and whether it was there before the run."""

    manifest: RetentionManifest
    location: str
    is_complete: bool = True

    def __str__(self) -> str:
        found = self.manifest
        horizon = format_duration(timedelta(seconds=found.horizon_seconds))
        what = f"{found.users:,} users, {horizon} from {found.at.isoformat()} by {found.model}"
        head = ("users", "expected buyers", "at risk", "expected spend")
        lines = [
            f"nothing to do: {self.location} has {what}" if self.is_complete else f"{self.location}: {what}",
            f"{found.events:,} events before the instant, the last at {found.last_event.isoformat()}",
            *in_sample_warning(found.model_knows_until, found.at),
            "",
            f"{'probability':<12}" + "".join(f"{name:>20}" for name in head),
        ]
        for band in reversed(found.bands):
            cells = (
                f"{band.users:,}",
                f"{band.expected_buyers:,.0f}",
                f"{band.at_risk:,}",
                f"{band.expected_spend:,.0f}",
            )
            lines.append(
                f"{f'{band.low:.1f}–{band.high:.1f}':<12}" + "".join(f"{cell:>20}" for cell in cells)
            )
        measures = ("users", "predicted", "bought", "ROC AUC", "by recency", "Brier", "calibration err")
        lines += ["", f"{'backtest':<12}" + "".join(f"{name:>16}" for name in measures)]
        lines += [_line(each) for each in found.backtests] or ["none: the history is too short"]
        return "\n".join(lines)


def _line(backtest: Backtest) -> str:
    aucs = ("–" if auc is None else f"{auc:.3f}" for auc in (backtest.roc_auc, backtest.recency_roc_auc))
    cells = (
        f"{backtest.users:,}",
        f"{backtest.expected_buyers:,.0f}",
        f"{backtest.buyers:,}",
        *aucs,
        f"{backtest.brier:.3f}",
        f"{backtest.calibration_error:.3f}",
    )
    note = "  the model has learnt from it" if backtest.in_sample else ""
    return f"{backtest.at:%Y-%m-%d}  " + "".join(f"{cell:>16}" for cell in cells) + note
