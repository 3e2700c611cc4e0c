"""The answers that an output has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from reprise.runtime.storage import Storage
from reprise.scoring.audience.campaign import CampaignManifest
from reprise.scoring.demand.manifest import SCHEMA, DemandManifest
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.output import MANIFEST, Manifest, read_manifest, read_table
from reprise.scoring.retention.output import FOLDER, RetentionManifest

_DEMAND = re.compile(r"demand-[^/]+\.json")
_CAMPAIGN = re.compile(rf"campaigns/[^/]+/{MANIFEST}")
_NIGHTS = 90
_DIRECTORY = rf"date=[^/]+/model=[^/]+/{MANIFEST}"


@dataclass(frozen=True, slots=True)
class Answers:
    """The latest answers; those that are not there are None."""

    nights: Sequence[DemandManifest]  # The forecasts of the last dates, the earliest first
    demand: pa.Table  # Of the last one
    scores: Manifest | None
    retention: RetentionManifest | None
    campaigns: Sequence[CampaignManifest]  # The latest first

    @property
    def latest(self) -> DemandManifest:
        """The manifest of the last forecast."""
        return self.nights[-1]


def read_answers(storage: Storage) -> Answers:
    """Return the answers of an output.

    Raises:
        ScoringError: There is no forecast of the demand, or a manifest cannot be read.
        StorageError: The output is unavailable.
    """
    paths = storage.files("")
    last = [path for path in paths if _DEMAND.fullmatch(path)][-_NIGHTS:]
    found = (read_manifest(storage, path, DemandManifest) for path in last)
    nights = sorted((each for each in found if each is not None), key=lambda each: each.at)
    if not nights:
        raise ScoringError(f"{storage.location('')} has no forecast of the demand: run reprise demand first")
    demand = read_table(storage, nights[-1].file, SCHEMA)
    scores = _latest(paths, _DIRECTORY)
    retention = _latest(paths, f"{FOLDER}/{_DIRECTORY}")
    campaigns = [path for path in paths if _CAMPAIGN.fullmatch(path)]
    return Answers(
        nights=list({each.at.date(): each for each in nights}.values()),
        demand=demand,
        scores=None if scores is None else read_manifest(storage, scores, Manifest),
        retention=None if retention is None else read_manifest(storage, retention, RetentionManifest),
        campaigns=sorted(
            filter(None, (read_manifest(storage, path, CampaignManifest) for path in campaigns)),
            key=lambda each: each.at,
            reverse=True,
        ),
    )


def _latest(paths: Sequence[str], pattern: str) -> str | None:
    return max((path for path in paths if re.fullmatch(pattern, path)), default=None)
