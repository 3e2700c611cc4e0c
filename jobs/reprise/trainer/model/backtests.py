"""Walk-forward backtests: models as of earlier dates, each judged in its first label window in service.

Each is fitted as the published model is, on what was known at its date: rows whose labels were. So it says what a
published model is worth in service, which the published model itself cannot be measured on yet. Tashman, *Out-of-sample
tests of forecasting accuracy* (2000), calls it rolling-origin evaluation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reprise.bundle import Evaluation
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.evaluation.time_split import Span, TimeSplit
from reprise.events import format_timestamp
from reprise.features.request_kinds import KindColumns
from reprise.runtime.progress import progress
from reprise.trainer.data.dataset import Dataset
from reprise.trainer.data.labelled_rows import too_few_labels
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


def backtest(
    dataset: Dataset,
    split: TimeSplit,
    parameters: ForestParameters,
    input_names: tuple[str, ...],
    settings: TrainerSettings,
    columns: KindColumns,
) -> tuple[Backtest, ...]:
    """Return up to ``settings.backtests`` backtests, the newest first; fewer if the history is too short for more.

    ``parameters`` were chosen on the training span of ``split``, so a model as of a date at which its labels were not
    known yet is left out.
    """
    found = []
    with progress("Backtesting", settings.backtests, "models") as bar:
        for number in range(1, settings.backtests + 1):
            start_us = split.evaluation.end_us - number * split.label_window_us
            judged = Span(start_us, start_us + split.label_window_us)
            refit, recent = split.refit_as_of(start_us)
            if refit.end_us < split.train.end_us:
                break
            rows, train, calibration = (dataset.within(span) for span in (judged, refit, recent))
            parts = {"training": train, "calibration": calibration, "evaluation": rows}
            labels = {name: part.at_events for name, part in parts.items()}
            if too_few_labels(labels, settings.default_horizon) is not None:
                break
            model = fit_published(train, recent, parameters, input_names, settings, columns, {})
            judgement = judge(
                model.scorer,
                model.thresholds,
                rows,
                train=train,
                calibration=calibration,
                columns=columns,
                settings=settings,
            )
            found.append(Backtest(judged, len(train), judgement.evaluation, judgement.intervals))
            bar.advance()
    return tuple(found)
