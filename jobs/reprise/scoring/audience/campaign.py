"""The users of a campaign: bands, holdout and suppressions, as files with a manifest that is written last."""

import csv
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict

from reprise.evaluation.classification_metrics import Floats
from reprise.routing import BUCKETS, bucket_of
from reprise.runtime.durations import format_duration
from reprise.runtime.storage import Storage, open_storage
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.output import MANIFEST, read_manifest, read_table, write_table
from reprise.scoring.retention.output import AT_RISK, FOLDER, SCHEMA, RetentionManifest
from reprise.scoring.settings import ScoringSettings

HOLDOUT = "holdout"
AUDIENCE = pa.schema(
    [
        ("user_id", pa.string()),
        ("band", pa.string()),
        ("probability", pa.float32()),
        ("expected_value", pa.float64()),
        ("reason", pa.string()),
    ]
)
"""Columns of the files of a campaign."""
_PROBABILITY_EDGES = (0.2, 0.4, 0.6, 0.8)


class CampaignBand(BaseModel):
    """The number of users in a band who are written to and who are held out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    written: int
    held_out: int
    expected_buyers: float  # Of both, without the campaign
    expected_value: float


class CampaignManifest(BaseModel):
    """What was chosen for a campaign, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    campaign: str
    at: AwareDatetime  # Instant of the scores
    model: str
    horizon_seconds: int
    purchase_type: str
    by: str
    margin: float
    edges: list[float]
    at_risk: bool
    holdout: float
    salt: str  # Of the hash that draws the holdout
    suppressed: int  # Users who would be in the campaign but for the list
    suppressed_sha256: str | None  # Of the file of the list
    bands: list[CampaignBand]
    files: list[str]  # Those written to by band, then the holdout

    @property
    def path(self) -> str:
        """The campaign's directory under the output."""
        return campaign_path(self.campaign)


@dataclass(frozen=True, slots=True)
class AudienceReport:
    """The manifest of a campaign, its location, and whether it was there before the run."""

    manifest: CampaignManifest
    location: str
    is_complete: bool

    def __str__(self) -> str:
        found = self.manifest
        lines = [
            f"{'nothing to do: ' if self.is_complete else ''}{self.location}: users at {found.at.isoformat()}"
            f" by {found.by}, {found.holdout:.0%} held out",
            f"{found.suppressed:,} more users are on the list of those who are not written to"
            if found.suppressed_sha256
            else "no list of users who are not written to (--suppress)",
            "",
            f"{'band':<16}"
            + "".join(f"{name:>16}" for name in ("written", "held out", "would buy", "worth")),
        ]
        for band in reversed(found.bands):
            cells = (
                f"{band.written:,}",
                f"{band.held_out:,}",
                f"{band.expected_buyers:,.0f}",
                f"{band.expected_value:,.0f}",
            )
            lines.append(f"{band.name:<16}" + "".join(f"{cell:>16}" for cell in cells))
        return "\n".join(lines)


def choose_audience(
    settings: ScoringSettings,
    campaign: str,
    at: datetime | None,
    model: str | None,
    by: str,
    margin: float,
    bands: tuple[float, ...] | None,
    at_risk: bool,
    holdout: float,
    suppress: Path | None,
    format: str,  # noqa: A002 - the option's name
) -> AudienceReport:
    """Choose the users of a campaign from the files of ``reprise retention``, and write them.

    Raises:
        ScoringError: There are no such files, nobody is chosen, or the campaign was written with other choices.
        StorageError: The output is unavailable.
    """
    storage = open_storage(settings.out)
    folder, scores = _find_scores(storage, at, model)
    rows = pa.concat_tables(read_table(storage, f"{folder}/{name}", SCHEMA) for name in scores.files)
    if at_risk:
        rows = rows.filter(pa.array(np.nan_to_num(_floats(rows, "drop"), nan=-1.0) >= AT_RISK))
    listed = set() if suppress is None else _read_list(suppress)
    allowed = np.array([user not in listed for user in rows["user_id"].to_pylist()], np.bool_)
    suppressed, rows = int(np.count_nonzero(~allowed)), rows.filter(pa.array(allowed))
    if not len(rows):
        raise ScoringError(f"{folder}: nobody is left to write to")
    salt = f"campaign:{campaign}"
    held_out = np.array(
        [bucket_of(salt, user) < holdout * BUCKETS for user in rows["user_id"].to_pylist()], np.bool_
    )
    probability, value = _floats(rows, "probability"), np.nan_to_num(_floats(rows, "value"))
    expected = probability * value * margin
    measure = probability if by == "probability" else expected
    edges = bands or (_PROBABILITY_EDGES if by == "probability" else _quartiles(measure))
    names = _band_names(edges)
    place = np.searchsorted(edges, measure, side="right")
    horizon = timedelta(seconds=scores.horizon_seconds)
    table = pa.table(
        [
            rows["user_id"],
            pa.array(np.array(names, object)[place], pa.string()),
            rows["probability"],
            pa.array(expected),
            pa.array([_reason(row, horizon) for row in rows.to_pylist()], pa.string()),
        ],
        schema=AUDIENCE,
    )
    files = {f"write-{name}.{format}": ~held_out & (place == number) for number, name in enumerate(names)}
    files[f"{HOLDOUT}.{format}"] = held_out
    manifest = CampaignManifest(
        campaign=campaign,
        at=scores.at,
        model=scores.model,
        horizon_seconds=scores.horizon_seconds,
        purchase_type=scores.purchase_type,
        by=by,
        margin=margin,
        edges=list(edges),
        at_risk=at_risk,
        holdout=holdout,
        salt=salt,
        suppressed=suppressed,
        suppressed_sha256=None if suppress is None else sha256(suppress.read_bytes()).hexdigest(),
        bands=[
            CampaignBand(
                name=name,
                written=int(np.count_nonzero(mine & ~held_out)),
                held_out=int(np.count_nonzero(mine & held_out)),
                expected_buyers=float(probability[mine].sum()),
                expected_value=float(expected[mine].sum()),
            )
            for number, name in enumerate(names)
            for mine in [place == number]
        ],
        files=list(files),
    )
    return _write(storage, manifest, table, files)


def read_campaign(storage: Storage, campaign: str) -> CampaignManifest | None:
    """Return the manifest of a campaign, None if there is none; raises ``ScoringError`` if it cannot be read."""
    return read_manifest(storage, f"{campaign_path(campaign)}/{MANIFEST}", CampaignManifest)


def read_audience(storage: Storage, manifest: CampaignManifest) -> pa.Table:
    """Return the users of a campaign: ``user_id``, ``band`` and ``held_out``."""
    tables = []
    for name in manifest.files:
        table = read_table(storage, f"{manifest.path}/{name}", AUDIENCE)
        held_out = pa.array(np.full(len(table), name.startswith(HOLDOUT)))
        tables.append(table.select(["user_id", "band"]).append_column("held_out", held_out))
    return pa.concat_tables(tables)


def campaign_path(campaign: str) -> str:
    """Return the directory of a campaign under the output."""
    return f"campaigns/{campaign}"


def _find_scores(storage: Storage, at: datetime | None, model: str | None) -> tuple[str, RetentionManifest]:
    """Return the directory of the users' scores of an instant, the latest by default, and its manifest."""
    found = [
        (path.removesuffix(f"/{MANIFEST}"), manifest)
        for path in storage.files(FOLDER)
        if path.endswith(f"/{MANIFEST}")
        and (manifest := read_manifest(storage, path, RetentionManifest)) is not None
    ]
    wanted = at.astimezone(UTC) if at else max((each.at for _, each in found), default=None)
    chosen = [(path, each) for path, each in found if each.at == wanted and model in (None, each.model)]
    if not chosen:
        what = f" at {wanted.isoformat()}" if wanted else ""
        raise ScoringError(
            f"{storage.location(FOLDER)} has no scores of users{what}; run reprise retention first"
        )
    if len(chosen) > 1:
        models = ", ".join(each.model for _, each in chosen)
        raise ScoringError(
            f"there are scores of several models at {wanted}: {models}; choose one with --model"
        )
    return chosen[0]


def _write(
    storage: Storage, manifest: CampaignManifest, table: pa.Table, files: dict[str, Floats]
) -> AudienceReport:
    location = storage.location(manifest.path)
    present = read_campaign(storage, manifest.campaign)
    if present == manifest:
        return AudienceReport(manifest, location, is_complete=True)
    if present is not None:
        differing = [name for name, value in present if value != getattr(manifest, name)]
        raise ScoringError(
            f"{location} was written with another choice ({', '.join(differing)}); who was written to and held out"
            " must stay known: take another name"
        )
    for path in storage.files(manifest.path):
        storage.remove(path)
    for name, mask in files.items():
        write_table(storage, f"{manifest.path}/{name}", table.filter(pa.array(mask)))
    storage.write(f"{manifest.path}/{MANIFEST}", manifest.model_dump_json(indent=2).encode())
    return AudienceReport(manifest, location, is_complete=False)


def _read_list(path: Path) -> set[str]:
    with path.open(encoding="utf-8-sig", newline="") as opened:
        ids = [row[0].strip() for row in csv.reader(opened) if row]
    return set(ids[1:] if ids[:1] == ["user_id"] else ids) - {""}


def _floats(rows: pa.Table, name: str) -> Floats:
    values: Floats = rows[name].to_numpy().astype(np.float64)
    return values


def _quartiles(measure: Floats) -> tuple[float, ...]:
    """Return the quartiles to three digits, without those that are equal or 0."""
    rounded = {float(f"{edge:.3g}") for edge in np.quantile(measure, [0.25, 0.5, 0.75])}
    return tuple(sorted(edge for edge in rounded if edge > 0))


def _band_names(edges: tuple[float, ...]) -> list[str]:
    return [*(f"{low:g}-{high:g}" for low, high in pairwise((0.0, *edges))), f"{(0.0, *edges)[-1]:g}-up"]


def _reason(row: dict[str, Any], horizon: timedelta) -> str:
    """Return why a user is in a band, in words."""
    gap, since, drop = row["usual_gap_days"], row["days_since_last"], row["drop"]
    ago = "today" if since < 1 else f"{_days(since)} ago"
    if gap is not None:
        reason = f"usually buys every {'day' if gap < 1.5 else _days(gap)}, last bought {ago}"
    elif row["purchases"] == 1:
        reason = f"bought once, {ago}"
    else:
        reason = f"bought {row['purchases']} times on one day, {ago}"
    if drop is not None and drop >= AT_RISK:
        reason += (
            f"; the probability fell from {row['probability_before']:.0%} to {row['probability']:.0%}"
            f" within {format_duration(horizon)}"
        )
    return reason


def _days(days: float) -> str:
    return "1 day" if days < 1.5 else f"{days:,.0f} days"
