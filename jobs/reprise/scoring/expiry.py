"""The removal of old scores and campaigns, which have ids of users."""

import re
from datetime import date

from reprise.runtime.storage import Storage
from reprise.scoring.audience.output import campaign_path, read_campaign
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.output import MANIFEST

_CAMPAIGN = re.compile(rf"campaigns/([^/]+)/{re.escape(MANIFEST)}")
_SCORES = re.compile(
    r"(?:(?:retention|horizon=\d+)/)?date=(\d{4}-\d{2}-\d{2})/model=[0-9a-f]{12}/"
    r"(?:_manifest\.json|part-\d+-of-\d+-[0-9a-f]{8}\.(?:parquet|csv))"
)


def remove_scores(storage: Storage, before: date) -> int:
    """Remove the scores of dates before this one, manifests first, and no other files; return how many."""
    old = [
        path
        for path in storage.files("")
        if (found := _SCORES.fullmatch(path)) and date.fromisoformat(found[1]) < before
    ]
    for path in old:
        storage.remove(path)
    return len(old)


def remove_campaigns(storage: Storage, before: date) -> int:
    """Remove campaigns whose users were chosen before this date; return the number of files.

    A manifest is removed last, so that a removal that fails is finished by the next.

    Raises:
        ScoringError: Manifests cannot be read; the other campaigns are removed.
    """
    removed, unreadable = 0, []
    for found in filter(None, map(_CAMPAIGN.fullmatch, storage.files("campaigns"))):
        try:
            campaign = read_campaign(storage, found[1])
        except ScoringError as error:
            unreadable.append(str(error))
            continue
        if campaign is not None and campaign.at.date() < before:
            others = [path for path in storage.files(campaign_path(found[1])) if path != found[0]]
            for path in (*others, found[0]):
                storage.remove(path)
            removed += 1 + len(others)
    if unreadable:
        raise ScoringError("; ".join(unreadable))
    return removed
