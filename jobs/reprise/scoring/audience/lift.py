"""What a campaign changed: who bought among the users written to and the holdout."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel

from reprise import sql
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.evaluation.proportion_difference import Group, share_difference, spend_difference
from reprise.features.labels import Outcome, refunded_purchases
from reprise.runtime.durations import EPOCH, format_duration, microseconds
from reprise.runtime.storage import open_storage
from reprise.scoring.audience.output import campaign_path, read_audience, read_campaign
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.inputs import ScoringInputs

ALL = "all"
_MAX_EVENT_GAP = timedelta(days=1)
"""Longest time without any event of the shop."""


class BandLift(BaseModel):
    """Both groups of a band, and their differences: the users written to minus the holdout; NaN is null in JSON."""

    band: str
    written: int
    written_buyers: int
    held_out: int
    held_out_buyers: int
    conversion: Interval
    spend: Interval  # Per user


class LiftReport(BaseModel):
    """What a campaign changed, by band and over all of them."""

    campaign: str
    product: str | None = None  # Whose purchases count; None if all do
    start: AwareDatetime
    end: AwareDatetime
    last_event: AwareDatetime  # Of those that count
    is_over: bool  # Whether the events reach the end of the window, and of the refund window after it
    bands: list[BandLift]  # All of them together first

    def __str__(self) -> str:
        window = format_duration(self.end - self.start)
        what = "purchases" if self.product is None else f"purchases of {self.product}"
        lines = [f"{self.campaign}: {what} within {window} after {self.start.isoformat()}"]
        if not self.is_over:
            lines.append(
                f"the last event is of {self.last_event.isoformat()}, before the window and the time for"
                " returns end: numbers will change"
            )
        head = ("written", "bought", "held out", "bought", "difference", "95 % interval", "spend per user")
        lines += ["", f"{'band':<16}" + "".join(f"{name:>18}" for name in head)]
        lines += [_line(each) for each in self.bands]
        whole = self.bands[0]
        found = whole.conversion
        if math.isnan(found.lower):
            return "\n".join([*lines, "", "without users on both sides nothing can be compared"])
        effect = "no effect is shown"
        if found.lower > 0 or found.upper < 0:
            effect = f"the campaign {'won' if found.lower > 0 else 'lost'} buyers"
        numbers = [round(whole.written * bound) for bound in (found.value, found.lower, found.upper)]
        lines += ["", f"{numbers[0]:+,} buyers by writing ({numbers[1]:+,} to {numbers[2]:+,}): {effect}"]
        return "\n".join(lines)


def measure_lift(
    inputs: ScoringInputs, campaign: str, start: datetime | None, window: timedelta | None
) -> LiftReport:
    """Compare both groups of a campaign by the purchases in (start, start + window], and write the result.

    Purchases that are returned within the model's refund window do not count.

    Raises:
        ScoringError: There is no such campaign, or it begins after all events.
        RepriseError: The events or the output are unavailable or unusable.
    """
    storage = open_storage(inputs.settings.out)
    manifest = read_campaign(storage, campaign)
    if manifest is None:
        raise ScoringError(f"{storage.location(campaign_path(campaign))} has no manifest: no such campaign")
    begins = (start or manifest.at).astimezone(UTC)
    ends = begins + (window or timedelta(seconds=manifest.horizon_seconds))
    outcome = Outcome(manifest.purchase_type, manifest.refund_window_seconds * 1_000_000)
    bounds = [microseconds(each - EPOCH) for each in (begins, min(ends, inputs.at), inputs.at)]
    with sql.connect(memory_limit=inputs.memory_limit, temp_directory=inputs.folder / "spill") as connection:
        connection.register("audience", read_audience(storage, manifest))
        groups = _groups(connection, inputs.history, outcome, manifest.product, bounds)
        last_us = connection.execute(
            f"SELECT max(epoch_us(timestamp)) FROM read_parquet({sql.literal(inputs.history)})"
            f" WHERE epoch_us(timestamp) < {bounds[2]}"
        ).fetchone()[0]
    if last_us is None or last_us <= bounds[0]:
        raise ScoringError(f"there is no event after {begins.isoformat()}, when the campaign began")
    last_event = EPOCH + timedelta(microseconds=last_us)
    names = [ALL, *(band.name for band in reversed(manifest.bands))]
    empty = Group(0, 0)
    report = LiftReport(
        campaign=campaign,
        product=manifest.product,
        start=begins,
        end=ends,
        last_event=last_event,
        is_over=min(inputs.at, last_event + _MAX_EVENT_GAP)
        >= ends + timedelta(seconds=manifest.refund_window_seconds),
        bands=[
            _band(name, groups.get((name, False), empty), groups.get((name, True), empty)) for name in names
        ],
    )
    storage.write(f"{manifest.path}/lift.json", report.model_dump_json(indent=2).encode())
    return report


def _groups(
    connection: Any, history: Path, outcome: Outcome, product: str | None, bounds: Sequence[int]
) -> dict[tuple[str, bool], Group]:
    """Return the groups by band and whether they are the holdout."""
    start, end, at = bounds
    events = sql.first_of_each_id(
        f"(SELECT *, epoch_us(timestamp) AS ts FROM {sql.numbered_rows(history)} WHERE epoch_us(timestamp) < {at})"
    )
    kept = "true"
    if outcome.refund_us:
        kept = f"event_id NOT IN ({refunded_purchases(events, outcome)})"
    if product is not None:
        kept += f" AND product_id = {sql.literal(product)}"
    rows = connection.execute(
        f"""
        WITH spent AS (
            SELECT user_id, coalesce(sum(CAST(amount AS DOUBLE)), 0) AS spend FROM {events}
            WHERE event_type = {sql.literal(outcome.purchase_type)} AND ts > {start} AND ts <= {end} AND {kept}
            GROUP BY user_id
        )
        SELECT coalesce(band, {sql.literal(ALL)}), held_out, count(*), count(spend), coalesce(sum(spend), 0),
               coalesce(sum(spend * spend), 0)
        FROM audience LEFT JOIN spent USING (user_id)
        GROUP BY GROUPING SETS ((band, held_out), (held_out))
        """
    ).fetchall()
    return {(band, held_out): Group(*numbers) for band, held_out, *numbers in rows}


def _band(name: str, written: Group, held_out: Group) -> BandLift:
    return BandLift(
        band=name,
        written=written.users,
        written_buyers=written.buyers,
        held_out=held_out.users,
        held_out_buyers=held_out.buyers,
        conversion=share_difference(written, held_out),
        spend=spend_difference(written, held_out),
    )


def _line(band: BandLift) -> str:
    def share(buyers: int, users: int) -> str:
        return f"{buyers / users:.1%}" if users else "–"

    found, spend = band.conversion, band.spend
    difference = "–" if math.isnan(found.value) else f"{found.value:+.1%}"
    bounds = "–" if math.isnan(found.lower) else f"{found.lower:+.1%} to {found.upper:+.1%}"
    spent = "–" if math.isnan(spend.value) else f"{spend.value:+.2f}"
    if not math.isnan(spend.lower):
        spent += f" ({spend.lower:+.2f} to {spend.upper:+.2f})"
    cells = (
        f"{band.written:,}",
        share(band.written_buyers, band.written),
        f"{band.held_out:,}",
        share(band.held_out_buyers, band.held_out),
        difference,
        bounds,
    )
    return f"{band.band:<16}" + "".join(f"{cell:>18}" for cell in cells) + f"    {spent}"
