"""The choice of a campaign's users: bands, holdout and suppressions."""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reprise.evaluation.classification_metrics import Floats
from reprise.routing import BUCKETS, bucket_of
from reprise.runtime.durations import format_duration
from reprise.runtime.storage import Storage, open_storage
from reprise.scoring.audience.output import (
    AUDIENCE,
    HOLDOUT,
    AudienceReport,
    CampaignBand,
    CampaignManifest,
    campaign_path,
    read_campaign,
    write_campaign,
)
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.output import MANIFEST, PairScoresManifest, RunManifest, read_manifest, read_table
from reprise.scoring.output import SCHEMA as PAIRS
from reprise.scoring.retention.output import AT_RISK, FOLDER, SCHEMA, RetentionManifest
from reprise.scoring.settings import ScoringSettings

_PROBABILITY_EDGES = (0.2, 0.4, 0.6, 0.8)
_FROM_SCORES = {"at", "model", "horizon_seconds", "purchase_type", "refund_window_seconds"}

Mask = NDArray[np.bool_]


def choose_audience(
    settings: ScoringSettings,
    campaign: str,
    at: datetime | None,
    model: str | None,
    by: str,
    margin: float,
    bands: tuple[float, ...] | None,
    product: str | None,
    at_risk: bool,
    holdout: float,
    suppress: Path | None,
    format: str,  # noqa: A002 - the option's name
) -> AudienceReport:
    """Choose the users of a campaign from the files of ``reprise retention`` or ``reprise score``, and write them.

    A campaign that was written with the same choices stays as it is, also if later or no scores are there.

    Raises:
        ScoringError: There are no such files, nobody is chosen, the suppressed users are unknown, or the campaign was
            written with other choices.
        StorageError: The output is unavailable.
    """
    storage, location = open_storage(settings.out), campaign_path(campaign)
    edges = bands or (_PROBABILITY_EDGES if by == "probability" else None)
    choice = {
        "by": by,
        "margin": margin,
        "quartiles": edges is None,
        "product": product,
        "at_risk": at_risk,
        "holdout": holdout,
        "suppressed_sha256": None if suppress is None else sha256(suppress.read_bytes()).hexdigest(),
    }
    if (present := read_campaign(storage, campaign)) is not None:
        given = {"at": at, "model": model, "edges": edges and list(edges), "format": format}
        wanted = choice | {name: value for name, value in given.items() if value is not None}
        _check_choice(present, wanted, storage.location(location))
        return AudienceReport(present, storage.location(location), is_complete=True)
    if product is None:
        folder, scores = _find_scores(storage, at, model, FOLDER, RetentionManifest)
        chosen = pc.field("drop") >= AT_RISK if at_risk else pc.scalar(True)
        rows, suppressed = _read_users(storage, folder, scores, SCHEMA, chosen, suppress)
    else:
        folder, scores = _find_scores(storage, at, model, "", PairScoresManifest)
        chosen = pc.field("product_id") == product
        rows, suppressed = _read_users(storage, folder, scores, PAIRS, chosen, suppress)
        days = [(scores.at - last) / timedelta(days=1) for last in rows["last_purchase"].to_pylist()]
        rows = rows.rename_columns({"mean_amount": "value"}).append_column("days_since_last", pa.array(days))
    if scores.purchase_type is None:
        raise ScoringError(
            f"{storage.location(folder)} does not say what a purchase is: run reprise score again"
        )
    probability, value = _floats(rows, "probability"), np.nan_to_num(_floats(rows, "value"))
    expected = probability * value * margin
    measure = probability if by == "probability" else expected
    edges = edges or _quartiles(measure)
    names, place = _band_names(edges), np.searchsorted(edges, measure, side="right")
    salt, users = f"campaign:{campaign}", rows["user_id"].to_pylist()
    held_out = np.array([bucket_of(salt, user) < holdout * BUCKETS for user in users], np.bool_)
    files = {f"write-{name}.{format}": ~held_out & (place == number) for number, name in enumerate(names)}
    files[f"{HOLDOUT}.{format}"] = held_out
    manifest = CampaignManifest(
        campaign=campaign,
        **scores.model_dump(include=_FROM_SCORES),
        **choice,
        edges=list(edges),
        salt=salt,
        suppressed=suppressed,
        bands=[
            _band(name, place == number, held_out, probability, expected) for number, name in enumerate(names)
        ],
        files=list(files),
    )
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
    write_campaign(storage, manifest, table, files)
    return AudienceReport(manifest, storage.location(location), is_complete=False)


def _check_choice(present: CampaignManifest, wanted: Mapping[str, Any], location: str) -> None:
    differing = [name for name, value in wanted.items() if value != getattr(present, name)]
    if differing:
        raise ScoringError(
            f"{location} was written with another choice ({', '.join(differing)}); who was written to and held out"
            " must stay known: take another name"
        )


def _read_users(
    storage: Storage,
    folder: str,
    scores: RunManifest,
    schema: pa.Schema,
    chosen: pc.Expression,
    suppress: Path | None,
) -> tuple[pa.Table, int]:
    """Return the chosen rows of the users of a campaign, and how many more are suppressed."""
    listed = set() if suppress is None else _read_list(suppress)
    tables, are_unknown = [], bool(listed)
    for name in scores.files:
        rows = read_table(storage, f"{folder}/{name}", schema)
        are_unknown = are_unknown and listed.isdisjoint(rows["user_id"].to_pylist())
        tables.append(rows.filter(chosen))
    if are_unknown:
        raise ScoringError(
            f"{suppress}: none of its {len(listed):,} ids is among the scored users, so nobody would be suppressed;"
            " write the ids as the events have them, hashed in the same way"
        )
    found = pa.concat_tables(tables)
    kept = found.filter(pa.array([user not in listed for user in found["user_id"].to_pylist()], pa.bool_()))
    if not len(kept):
        raise ScoringError(f"{storage.location(folder)}: nobody is left to write to")
    return kept, len(found) - len(kept)


def _band(name: str, mine: Mask, held_out: Mask, probability: Floats, expected: Floats) -> CampaignBand:
    return CampaignBand(
        name=name,
        written=int(np.count_nonzero(mine & ~held_out)),
        held_out=int(np.count_nonzero(mine & held_out)),
        expected_buyers=float(probability[mine].sum()),
        expected_value=float(expected[mine].sum()),
    )


def _find_scores(
    storage: Storage, at: datetime | None, model: str | None, folder: str, kind: type[RunManifest]
) -> tuple[str, RunManifest]:
    """Return the directory of the scores of an instant, the latest by default, in a folder, and its manifest."""
    found = [
        (path.removesuffix(f"/{MANIFEST}"), manifest)
        for path in storage.files(folder)
        if path.removeprefix(f"{folder}/").startswith("date=")
        and path.endswith(f"/{MANIFEST}")
        and (manifest := read_manifest(storage, path, kind)) is not None
    ]
    wanted = at.astimezone(UTC) if at else max((each.at for _, each in found), default=None)
    chosen = [(path, each) for path, each in found if each.at == wanted and model in (None, each.model)]
    if not chosen:
        what = f" at {wanted.isoformat()}" if wanted else ""
        command = "retention" if folder else "score"
        raise ScoringError(f"{storage.location(folder)} has no scores{what}; run reprise {command} first")
    if len(chosen) > 1:
        models = ", ".join(each.model for _, each in chosen)
        raise ScoringError(
            f"there are scores of several models at {wanted}: {models}; choose one with --model"
        )
    return chosen[0]


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
    product = f"{row['product_id']} " if "product_id" in row else ""
    gap, since, drop = row.get("usual_gap_days"), row["days_since_last"], row.get("drop")
    ago = "today" if since < 1 else f"{_days(since)} ago"
    if gap is not None:
        reason = f"usually buys every {'day' if gap < 1.5 else _days(gap)}, last bought {ago}"
    elif row["purchases"] == 1:
        reason = f"bought {product}once, {ago}"
    elif product:
        reason = f"bought {product}{row['purchases']:,} times, last {ago}"
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
