"""Walk-forward backtests: models as of earlier dates, each judged in its first label window in service.

Each is fitted as the published model is, on the rows whose labels were known at its date. So they say what a published
model is worth in service, which cannot be measured on today's yet. Tashman, *Out-of-sample tests of forecasting
accuracy* (2000), calls it rolling-origin evaluation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reprise.bundle import Evaluation
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.evaluation.time_split import Span, TimeSplit
from reprise.events import format_timestamp
from reprise.features.request_kinds import KindColumns
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset, check_labels
from reprise.trainer.exceptions import TrainingRefusedError
from reprise.trainer.model.calibrated_forest import fit_published
from reprise.trainer.model.forest import ForestParameters
from reprise.trainer.model.judgement import judge
from reprise.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class Backtest:
    """A model as of an earlier date, and its quality in the label window after it."""

    judged: Span  # Begins when the model was published
    trained_rows: int  # Rows that it was grown on
    evaluation: Evaluation
    intervals: Mapping[str, Mapping[str, Interval]]  # As in ``Judgement``

    @property
    def date(self) -> str:
        """The day on which the model was published, UTC."""
        return format_timestamp(self.judged.start_us)[:10]


@dataclass(frozen=True, slots=True)
class Backtests:
    """The backtests of a training, the newest first, and why there are fewer than asked for, if so."""

    found: tuple[Backtest, ...] = ()
    ended: str | None = None


def backtest(
    dataset: Dataset,
    split: TimeSplit,
    parameters: ForestParameters,
    input_names: tuple[str, ...],
    settings: TrainerSettings,
    columns: KindColumns,
) -> Backtests:
    """Return up to ``settings.backtests`` backtests.

    They end at the first date that has too little data, or that is before the labels were known on which
    ``parameters`` were chosen: those of the training span of ``split``.

    Raises:
        GraphMismatchError: ONNX Runtime and scikit-learn disagree about a model.
    """

    def as_of(judged: Span) -> Backtest:
        refit, recent = split.refit_as_of(judged.start_us)
        check_labels(dataset, refit, recent, judged, settings.default_horizon)
        train = dataset.within(refit)
        model = fit_published(train, recent, parameters, input_names, settings, columns, {})
        judgement = judge(
            model.scorer,
            model.thresholds,
            dataset.within(judged),
            train=train,
            calibration=dataset.within(recent),
            columns=columns,
            settings=settings,
        )
        return Backtest(judged, len(train), judgement.evaluation, judgement.intervals)

    found: list[Backtest] = []
    with progress("Backtesting", settings.backtests, "models") as bar:
        for number in range(1, settings.backtests + 1):
            start_us = split.evaluation.end_us - number * split.label_window_us
            if start_us - split.label_window_us < split.train.end_us:
                return Backtests(tuple(found), "the history is too short for an earlier date")
            try:
                found.append(as_of(Span(start_us, start_us + split.label_window_us)))
            except TrainingRefusedError as refused:
                date = format_timestamp(start_us)[:10]
                return Backtests(tuple(found), f"as of {date}, {refused.reason}")
            bar.advance()
    return Backtests(tuple(found))
