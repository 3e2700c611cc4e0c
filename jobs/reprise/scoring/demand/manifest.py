"""What a file of demand holds, and how good its forecasts of earlier instants were."""

from datetime import datetime

import pyarrow as pa
from pydantic import AwareDatetime

from reprise.scoring.output import ManifestModel, short_digest

SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("repeat_buyers", pa.float64()),
        ("repeat_buyers_low", pa.float64()),  # Of the 80 % interval; null without backtests, as all bounds
        ("repeat_buyers_high", pa.float64()),
        ("new_buyers", pa.float64()),
        ("units", pa.float64()),
        ("units_low", pa.float64()),
        ("units_high", pa.float64()),
        ("revenue", pa.float64()),
        ("revenue_low", pa.float64()),
        ("revenue_high", pa.float64()),
    ]
)
"""Columns of the demand."""


class BacktestErrors(ManifestModel):
    """Errors of the forecast at an earlier instant; None without a purchase in the horizon after it."""

    at: AwareDatetime
    in_sample: bool  # Whether the model has learnt from the outcome
    wape: float | None
    seasonal_naive: float | None
    moving_average: float | None
    # Share of products inside the interval of the backtests before it; None for the first
    covered: float | None

    def __str__(self) -> str:
        numbers = (self.wape, self.seasonal_naive, self.moving_average)
        errors = "".join(f"{'–' if error is None else f'{error:.1%}':>16}" for error in numbers)
        covered = "–" if self.covered is None else f"{self.covered:.0%}"
        note = "  the model has learnt from it" if self.in_sample else ""
        return f"{self.at:%Y-%m-%d}{errors}{covered:>16}{note}"


class DemandManifest(ManifestModel):
    """The forecast of an instant. It is written last: a file without it is incomplete."""

    at: AwareDatetime
    model: str
    format: str
    horizon_seconds: int
    wanted_backtests: int
    file: str
    products: int
    units: float
    repeat_buyers: float
    new_buyers: float
    revenue: float
    backtests: list[BacktestErrors]  # The earliest first; fewer than wanted in a short history


def manifest_path(at: datetime, digest: str, further_horizon: int | None = None) -> str:
    """Return the path of the manifest of an instant's date and a model; that of the file differs in its suffix."""
    horizon = "" if further_horizon is None else f"-{further_horizon}"
    return f"demand-{at:%Y-%m-%d}-{short_digest(digest)}{horizon}.json"
