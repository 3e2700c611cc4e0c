"""One night: the removal of old scores, then each answer in order."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import duckdb

from reprise.runtime.exceptions import RepriseError
from reprise.runtime.storage import open_storage
from reprise.scoring.demand.run import forecast_demand
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.expiry import remove_scores
from reprise.scoring.report.run import write_report
from reprise.scoring.retention.run import score_users
from reprise.scoring.run import open_bundle, score
from reprise.scoring.settings import ScoringSettings

_FAILURES = (RepriseError, duckdb.Error, OSError)  # The last two: out of memory, no space left


def run_night(settings: ScoringSettings, backtests: int, source: Mapping[str, Any]) -> Iterator[str]:
    """Remove old scores, write each answer from a source of events, and yield the summaries.

    ``source`` is as ``source_options`` gives it. All answers are of the model that is the latest when the night begins.

    Raises:
        ScoringError: Some of it failed; the others are done.
    """
    answers: dict[str, Callable[..., object]] = {
        "expiry": _expire,
        "score": score,
        "demand": partial(forecast_demand, backtests=backtests),
        "retention": partial(score_users, backtests=backtests),
        "report": lambda settings, **_: write_report(settings),
    }
    if not settings.keep_days:
        del answers["expiry"]
    with suppress(*_FAILURES):  # Each answer reports that there is no bundle
        _, bundle = open_bundle(settings)
        settings = settings.model_copy(update={"model": bundle.digest})
        if bundle.manifest.users is None:
            del answers["retention"]
            yield f"retention is left out: {bundle.digest} has no model of users (its model card says why)\n"
    failures = []
    for name, answer in answers.items():
        try:
            yield f"{name}: {answer(settings, **source)}\n"
        except _FAILURES as error:
            failures.append(f"{name} failed: {error}")
    if failures:
        raise ScoringError("\n".join(failures))


def _expire(settings: ScoringSettings, at: datetime, **_: Any) -> str:
    before = (at - timedelta(days=settings.keep_days)).date()
    removed = remove_scores(open_storage(settings.out), before)
    return f"removed {removed:,} files of dates before {before}"
