"""The removal of old scores, which have ids of users."""

import re
from datetime import date

from reprise.runtime.storage import Storage

_SCORES = re.compile(
    r"(?:retention/)?date=(\d{4}-\d{2}-\d{2})/model=[0-9a-f]{12}/"
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
