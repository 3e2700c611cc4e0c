"""The models of further horizons: the same inputs and parameters, other labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np

from reprise.bundle import EVALUATED_HORIZON, HORIZON, HorizonModel, sha256_hex
from reprise.bundle.scorer import Scorer, bounded, outwards
from reprise.evaluation.time_split import TimeSplit
from reprise.features.request_kinds import KindColumns
from reprise.runtime.durations import format_duration, timed
from reprise.trainer.data.dataset import Dataset, check_labels
from reprise.trainer.data.history import History
from reprise.trainer.model.fitted_model import FittedModel, JudgedModel, fit_and_judge
from reprise.trainer.model.onnx_graph import score_rows
from reprise.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class FittedHorizons:
    """The descriptions of further horizons, the shortest first, and their graphs by file name."""

    descriptions: tuple[HorizonModel, ...]
    graphs: Mapping[str, bytes]


def fit_horizons(
    history: History,
    default: FittedModel,
    columns: KindColumns,
    settings: TrainerSettings,
    durations: dict[str, float],
) -> FittedHorizons:
    """Fit and judge a model of each further horizon, with the parameters of the default's; raises as ``fit_model``.

    ``durations`` gets the seconds of each.
    """
    own_seconds = _seconds(settings.default_horizon)
    horizons = {_seconds(each): each for each in settings.further_horizons}
    scorers: dict[int, Scorer] = {own_seconds: default.scorer}
    descriptions: list[HorizonModel] = []
    graphs: dict[str, bytes] = {}
    for seconds in outwards(own_seconds, horizons):
        horizon = horizons[seconds]
        dataset, split = history.dataset.of_horizon(horizon), history.further_splits[horizon]
        with timed(durations, f"horizon {format_duration(horizon)}"):
            judged = fit_and_judge(
                dataset,
                split,
                default.selection.parameters,
                default.scorer.input_names,
                settings.model_copy(update={"horizon": (horizon,)}),
                columns,
                {},
                partial(bounded, seconds=seconds, own_seconds=own_seconds, scorers=scorers),
            )
        scorers[seconds] = judged.scorer
        graphs[HORIZON.format(seconds)] = judged.published.graph
        graphs[EVALUATED_HORIZON.format(seconds)] = judged.evaluated.graph
        descriptions.append(_describe(seconds, dataset, split, judged))
    return FittedHorizons(tuple(sorted(descriptions, key=lambda each: each.seconds)), graphs)


def check_horizons(history: History) -> None:
    """Raise ``TrainingRefusedError`` if a span of a further horizon has too few rows of one label."""
    for horizon, split in history.further_splits.items():
        dataset = history.dataset.of_horizon(horizon)
        check_labels(dataset, split.train, split.calibration, split.evaluation, horizon)


def _describe(seconds: int, dataset: Dataset, split: TimeSplit, judged: JudgedModel) -> HorizonModel:
    rows = dataset.within(split.evaluation)
    alone, served = (score_rows(each, rows.inputs) for each in (judged.evaluated.scorer, judged.scorer))
    published = judged.published
    return HorizonModel(
        seconds=seconds,
        sha256=sha256_hex(published.graph),
        evaluated_sha256=sha256_hex(judged.evaluated.graph),
        threshold=published.thresholds.overall,
        verdicts=dict(judged.verdicts),
        train=dataset.window(split.refit),
        calibration=published.calibration.coefficients(),
        evaluated=dataset.window(split.evaluation),
        evaluation=judged.evaluation,
        intervals={
            name: {score: (each.lower, each.upper) for score, each in scores.items() if each.lower >= 0}
            for name, scores in judged.intervals.items()
        },
        bounded=float(np.mean(alone != served)),
        unbounded_brier=float(np.mean((alone - rows.labels)[rows.are_at_events] ** 2)),
        parity=published.parity,
    )


def _seconds(horizon: timedelta) -> int:
    return horizon // timedelta(seconds=1)
