"""The results of nightly runs that an output has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from reprise.runtime.storage import Storage
from reprise.scoring.audience.output import CampaignManifest
from reprise.scoring.demand.manifest import SCHEMA, DemandManifest
from reprise.scoring.output import MANIFEST, PairScoresManifest, read_manifest, read_table, short_digest
from reprise.scoring.retention.output import FOLDER, RetentionManifest

_DEMAND = re.compile(r"demand-\d{4}-\d{2}-\d{2}-[0-9a-f]+\.json")
_CAMPAIGN = re.compile(rf"campaigns/[^/]+/{MANIFEST}")
_DATED = len("demand-2026-01-01")
_FORECASTS = 90


@dataclass(frozen=True, slots=True)
class NightlyResults:
    """The latest results; those that are not there are None."""

    forecasts: Sequence[DemandManifest]  # Those of the last dates, the earliest first
    demand: pa.Table | None  # Of the last one
    scores: PairScoresManifest | None
    retention: RetentionManifest | None
    campaigns: Sequence[CampaignManifest]  # The latest first

    @property
    def latest(self) -> DemandManifest | None:
        """The manifest of the last forecast."""
        return self.forecasts[-1] if self.forecasts else None


def read_results(storage: Storage, model: str | None = None) -> NightlyResults:
    """Return the latest results of an output; the scores are of the last forecast's model.

    If several models forecast a date, ``model`` is preferred; without a forecast, the scores are of it.

    Raises:
        ScoringError: A manifest cannot be read.
        StorageError: The output is unavailable.
    """
    paths = storage.files("")
    demands = [path for path in paths if _DEMAND.fullmatch(path)]
    dates = sorted({path[:_DATED] for path in demands})[-_FORECASTS:]
    found = (read_manifest(storage, path, DemandManifest) for path in demands if path[:_DATED] in dates)
    forecasts = sorted(filter(None, found), key=lambda each: (each.at.date(), each.model == model, each.at))
    forecasts = list({each.at.date(): each for each in forecasts}.values())
    digest = forecasts[-1].model if forecasts else model
    directory = f"date=[^/]+/model={'[^/]+' if digest is None else short_digest(digest)}/{MANIFEST}"
    scores, retention = _latest(paths, directory), _latest(paths, f"{FOLDER}/{directory}")
    campaigns = [path for path in paths if _CAMPAIGN.fullmatch(path)]
    return NightlyResults(
        forecasts=forecasts,
        demand=read_table(storage, forecasts[-1].file, SCHEMA) if forecasts else None,
        scores=None if scores is None else read_manifest(storage, scores, PairScoresManifest),
        retention=None if retention is None else read_manifest(storage, retention, RetentionManifest),
        campaigns=sorted(
            filter(None, (read_manifest(storage, path, CampaignManifest) for path in campaigns)),
            key=lambda each: each.at,
            reverse=True,
        ),
    )


def _latest(paths: Sequence[str], pattern: str) -> str | None:
    return max((path for path in paths if re.fullmatch(pattern, path)), default=None)
