"""The files of a campaign: users by band, the holdout, and a manifest that is written last."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import AwareDatetime

from reprise.runtime.storage import Storage
from reprise.scoring.output import MANIFEST, ManifestModel, read_manifest, read_table, write_table

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


class CampaignBand(ManifestModel):
    """The number of users in a band who are written to and who are in the holdout."""

    name: str
    written: int
    held_out: int
    expected_buyers: float  # Of both, without the campaign
    expected_value: float


class CampaignManifest(ManifestModel):
    """What was chosen for a campaign, and how."""

    campaign: str
    at: AwareDatetime  # Instant of the scores
    model: str
    horizon_seconds: int
    purchase_type: str
    refund_window_seconds: int = 0  # A purchase that is returned within it does not count; 0 if all count
    by: str
    margin: float
    edges: list[float]
    quartiles: bool = False  # Whether the edges are the measure's quartiles
    product: str | None = None  # That the users bought and the probability is of; None if of anything
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

    @property
    def format(self) -> str:
        """Format of the files."""
        return self.files[-1].rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class AudienceReport:
    """The manifest of a campaign, its location, and whether it was there before the run."""

    manifest: CampaignManifest
    location: str
    is_complete: bool

    def __str__(self) -> str:
        found = self.manifest
        whose = f"buyers of {found.product}" if found.product else "users"
        lines = [
            f"{'nothing to do: ' if self.is_complete else ''}{self.location}: {whose} at {found.at.isoformat()}"
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


def write_campaign(
    storage: Storage, manifest: CampaignManifest, table: pa.Table, files: Mapping[str, NDArray[np.bool_]]
) -> None:
    """Write a table of users, ``AUDIENCE``, to the files of a campaign; each has the rows of its mask."""
    for path in storage.files(manifest.path):
        storage.remove(path)
    for name, mask in files.items():
        write_table(storage, f"{manifest.path}/{name}", table.filter(pa.array(mask)))
    storage.write(f"{manifest.path}/{MANIFEST}", manifest.model_dump_json(indent=2).encode())
