"""A nightly run: old scores and campaigns are removed, then scores, demand, retention and report are written."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial

import duckdb

from reprise.runtime.durations import format_duration
from reprise.runtime.exceptions import RepriseError
from reprise.runtime.storage import open_storage
from reprise.scoring.demand.run import forecast_demand
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.expiry import remove_campaigns, remove_scores
from reprise.scoring.inputs import ScoringInputs
from reprise.scoring.report.run import write_report
from reprise.scoring.retention.run import score_users
from reprise.scoring.run import score

_FAILURES = (RepriseError, duckdb.Error, OSError)  # The last two: out of memory, no space left


def run_nightly(inputs: ScoringInputs, backtests: int) -> Iterator[str]:
    """Run each step, and yield the summaries.

    All results are of the model that is the latest when the run begins.

    Raises:
        ScoringError: The settings have a horizon, or steps failed; the others are done.
    """
    settings, digest = inputs.settings, None
    if settings.horizon is not None:
        raise ScoringError(
            "a nightly run is of the model's own horizon: leave out SCORING_HORIZON, or add further ones by"
            " SCORING_HORIZONS"
        )
    of_horizon: dict[str, Callable[[ScoringInputs], object]] = {
        "score": score,
        "demand": partial(forecast_demand, backtests=backtests),
    }
    steps: dict[str, Callable[[], object]] = {
        **{name: partial(step, inputs) for name, step in of_horizon.items()},
        "retention": lambda: score_users(inputs, backtests),
        "report": lambda: write_report(settings, digest),
        **{
            f"{name} of {format_duration(horizon)}": partial(_at_horizon, inputs, horizon, step)
            for horizon in settings.horizons
            for name, step in of_horizon.items()
        },
    }
    if settings.keep_days or settings.keep_campaign_days:
        steps = {"expiry": lambda: _expire(inputs), **steps}
    with suppress(*_FAILURES):  # Each step reports that there is no bundle
        digest = inputs.bundle.digest
        if inputs.bundle.manifest.users is None:
            del steps["retention"]
            yield f"retention is left out: {digest} has no model of users (its model card says why)\n"
    failures = []
    for name, step in steps.items():
        try:
            yield f"{name}: {step()}\n"
        except _FAILURES as error:
            failures.append(f"{name} failed: {error}")
    if failures:
        raise ScoringError("\n".join(failures))


def _at_horizon(inputs: ScoringInputs, horizon: timedelta, step: Callable[[ScoringInputs], object]) -> object:
    own, inputs.settings = inputs.settings, inputs.settings.model_copy(update={"horizon": horizon})
    try:
        return step(inputs)
    finally:
        inputs.settings = own


def _expire(inputs: ScoringInputs) -> str:
    settings, storage = inputs.settings, open_storage(inputs.settings.out)
    done = []
    for what, days, remove in (
        ("scores", settings.keep_days, remove_scores),
        ("campaigns", settings.keep_campaign_days, remove_campaigns),
    ):
        if days:
            before = (inputs.at - timedelta(days=days)).date()
            done.append(f"removed {remove(storage, before):,} files of {what} of dates before {before}")
    return "; ".join(done)
