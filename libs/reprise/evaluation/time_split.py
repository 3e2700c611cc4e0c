"""Time split: train, calibration, evaluation, and the gaps that keep labels from leaking between them."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from reprise.runtime.durations import format_duration
from reprise.runtime.exceptions import RepriseError

TRAIN_SHARE = 0.65
CALIBRATION_SHARE = 0.13
MIN_WINDOWS = 4
"""Fewest label windows of history: one at the end without labels, two gaps, and one to learn and judge from."""

_MICROSECOND = timedelta(microseconds=1)


class HistoryTooShortError(RepriseError):
    """History is too short to learn and judge from; has the reason, and what would help."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}\nWhat would help: {remedy}")


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time, microseconds since 1970-01-01 UTC; the end is exclusive."""

    start_us: int
    end_us: int

    def rows(self, timestamps_us: npt.NDArray[np.int64]) -> slice:
        """Return which of the ascending timestamps lie in the span."""
        start, end = np.searchsorted(timestamps_us, [self.start_us, self.end_us], side="left")
        return slice(int(start), int(end))

    @property
    def length_us(self) -> int:
        """Length of the span in microseconds."""
        return self.end_us - self.start_us


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Three spans in order, a label window or more between each and the next: horizon and refund window after it.

    A row's label looks one such window ahead, so a row that is less than that before the next span
    would tell of that span; the rows of the gaps are not used to evaluate.
    """

    train: Span
    calibration: Span
    evaluation: Span

    @property
    def refit(self) -> Span:
        """What the published model is grown on: all of history whose labels are known, after a burn-in.

        The burn-in is the gap before the evaluation, at most a fifth: features of the first days know hardly anything
        of their users.
        """
        return self._refit_until(self.evaluation.end_us)

    @property
    def refit_calibration(self) -> Span:
        """The newer part of the refit span, on which the published model is calibrated."""
        return Span(self.calibration.start_us, self.evaluation.end_us)

    @property
    def label_window_us(self) -> int:
        """How long after a row its label is known, in microseconds."""
        return self.evaluation.start_us - self.calibration.end_us

    def refit_as_of(self, instant_us: int) -> tuple[Span, Span]:
        """Return ``refit`` and ``refit_calibration`` of a model that is published at an earlier instant.

        The calibration is the same share of the refit span.
        """
        refit = self._refit_until(instant_us - self.label_window_us)
        share = self.refit_calibration.length_us / self.refit.length_us
        return refit, Span(refit.end_us - int(share * refit.length_us), refit.end_us)

    def _refit_until(self, end_us: int) -> Span:
        burn_in_us = min(self.label_window_us, (end_us - self.train.start_us) // 5)
        return Span(self.train.start_us + burn_in_us, end_us)


def split_by_time(
    first_us: int, last_us: int, horizon: timedelta, refund_window: timedelta = timedelta(0)
) -> TimeSplit:
    """Split history from its first to its last event, microseconds since 1970-01-01 UTC, both inclusive.

    Raises:
        HistoryTooShortError: History is shorter than four label windows.
    """
    window = horizon + refund_window
    window_us = window // _MICROSECOND
    usable = (last_us - first_us) - 3 * window_us
    if usable < (MIN_WINDOWS - 3) * window_us:
        history = timedelta(microseconds=last_us - first_us)
        window_text, shorter = f"a horizon of {format_duration(horizon)}", "horizon"
        if refund_window:
            window_text += f" and a refund window of {format_duration(refund_window)}"
            shorter += " or refund window"
        raise HistoryTooShortError(
            f"the events span {_days(history)}, too short for {window_text}: the last {_days(window)} have no labels "
            "yet, and training, calibration and evaluation are kept as far apart",
            f"at least {_days(MIN_WINDOWS * window)} of events, or a shorter {shorter}"
            + _longest_horizon(history, refund_window),
        )
    train_end = first_us + int(usable * TRAIN_SHARE)
    calibration_start = train_end + window_us
    calibration_end = calibration_start + int(usable * CALIBRATION_SHARE)
    evaluation_start = calibration_end + window_us
    return TimeSplit(
        train=Span(first_us, train_end),
        calibration=Span(calibration_start, calibration_end),
        evaluation=Span(evaluation_start, last_us - window_us + 1),
    )


def _days(duration: timedelta) -> str:
    days = duration / timedelta(days=1)
    return f"{days:,.0f} days" if days >= 10 else f"{days:,.2g} days"


def _longest_horizon(history: timedelta, refund_window: timedelta) -> str:
    longest = history / MIN_WINDOWS - refund_window
    for unit, text in ((timedelta(days=1), "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "m")):
        if longest >= unit:
            return f" (--horizon {longest // unit}{text})"
    return ""
