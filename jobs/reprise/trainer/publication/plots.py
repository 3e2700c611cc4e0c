"""The plots of the model card, each one SVG image."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from reprise.bundle import Importance
from reprise.evaluation.classification_metrics import RankedPredictions
from reprise.trainer.evaluation.held_out import MODEL, ORACLE, PREVALENCE, RECENCY, Answers, TimeSlice

COLOURS = {MODEL: "#4338ca", RECENCY: "#d97706", PREVALENCE: "#94a3b8", ORACLE: "#059669"}
NAMES = {MODEL: "model", RECENCY: "recency alone", PREVALENCE: "prevalence", ORACLE: "oracle"}

_POINTS = 400
_STYLE: Any = {
    "svg.hashsalt": "reprise",
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#94a3b8",
    "axes.labelcolor": "#334155",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": "#0f172a",
    "axes.titlelocation": "left",
    "xtick.color": "#64748b",
    "ytick.color": "#64748b",
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def roc_plot(answers: Answers) -> str:
    """Return the ROC curves of model, recency and oracle."""
    with _figure("ROC: purchases found against false alarms") as (axes, image):
        for name in _ranked(answers):
            false_alarms, found, _ = roc_curve(answers.table.labels, answers.by[name])
            kept = _thinned(len(found))
            axes.plot(
                false_alarms[kept], found[kept], color=COLOURS[name], label=NAMES[name], lw=_width(name)
            )
        axes.plot([0, 1], [0, 1], color=COLOURS[PREVALENCE], ls=":", label="chance")
        axes.set(
            xlabel="false alarms / all without a purchase", ylabel="found / all purchases", aspect="equal"
        )
        axes.legend(loc="lower right")
    return image()


def precision_recall_plot(answers: Answers, threshold: float) -> str:
    """Return the precision-recall curves, with the model's point at its threshold."""
    with _figure("Precision against recall") as (axes, image):
        labels = answers.table.labels
        for name in _ranked(answers):
            precision, recall, thresholds = precision_recall_curve(labels, answers.by[name])
            kept = _thinned(len(recall))
            axes.plot(recall[kept], precision[kept], color=COLOURS[name], label=NAMES[name], lw=_width(name))
            if name == MODEL:
                at = min(int(np.searchsorted(thresholds, threshold)), len(thresholds) - 1)
                axes.plot(recall[at], precision[at], "o", color=COLOURS[MODEL], label="at the threshold")
        axes.axhline(labels.mean(), color=COLOURS[PREVALENCE], ls=":", label="prevalence")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, None))
        axes.legend(loc="upper right")
    return image()


def calibration_plot(answers: Answers) -> str:
    """Return how often a purchase followed, by the probability that was given."""
    with _figure("Calibration: said against happened") as (axes, image):
        top = 0.0
        repeat = answers.part(answers.table.repeat_candidates)
        for title, part, style, colour in (
            ("all rows", answers, "o-", COLOURS[MODEL]),
            ("repeat candidates", repeat, "s--", "#0ea5e9"),
        ):
            if len(part.table) == 0:
                continue
            curve = RankedPredictions.of(part.table.labels, part.by[MODEL]).calibration_curve()
            said = [point.mean_probability for point in curve]
            happened = [point.positive_share for point in curve]
            errors = [
                1.96 * np.sqrt(share * (1 - share) / point.rows)
                for share, point in zip(happened, curve, strict=True)
            ]
            axes.errorbar(
                said, happened, yerr=errors, fmt=style, color=colour, ms=4, lw=1.5, capsize=2, label=title
            )
            top = max(top, *said, *happened)
        limit = min(1.0, top * 1.1)
        axes.plot([0, limit], [0, limit], color=COLOURS[PREVALENCE], ls=":", label="perfect")
        axes.set(
            xlabel="mean probability given", ylabel="share that bought", xlim=(0, limit), ylim=(0, limit)
        )
        axes.legend(loc="upper left")
    return image()


def score_plot(answers: Answers, threshold: float) -> str:
    """Return the distribution of the probabilities of rows with and without a purchase."""
    with _figure("Probabilities given, by what happened") as (axes, image):
        scores, labels = answers.by[MODEL], answers.table.labels
        bins = np.linspace(0, max(float(scores.max()), 1e-3), 41)
        for title, chosen, colour in (
            ("no purchase", ~labels, "#94a3b8"),
            ("purchase", labels, COLOURS[MODEL]),
        ):
            axes.hist(scores[chosen], bins=bins, density=True, alpha=0.6, color=colour, label=title)
        axes.axvline(threshold, color="#dc2626", lw=1.2, ls="--", label="threshold")
        axes.set(xlabel="probability", ylabel="density")
        axes.legend()
    return image()


def time_plot(slices: list[TimeSlice]) -> str:
    """Return the ROC AUC over the evaluation span."""
    with _figure("ROC AUC over the evaluation span") as (axes, image):
        middles = [_instant((part.span.start_us + part.span.end_us) // 2) for part in slices]
        for name in (ORACLE, MODEL, RECENCY):
            if name in slices[0].aucs:
                aucs = [np.nan if part.aucs[name] is None else part.aucs[name] for part in slices]
                axes.plot(middles, aucs, "o-", ms=4, color=COLOURS[name], label=NAMES[name], lw=_width(name))
        _by_date(axes)
        axes.set(ylabel="ROC AUC")
        axes.legend(loc="best")
    return image()


def rate_plot(slices: list[TimeSlice]) -> str:
    """Return the rate of purchases over the evaluation span, as predicted and as it was."""
    with _figure("Rate of purchases, predicted and actual") as (axes, image):
        middles = [_instant((part.span.start_us + part.span.end_us) // 2) for part in slices]
        axes.plot(
            middles,
            [part.mean_probability for part in slices],
            "o-",
            ms=4,
            color=COLOURS[MODEL],
            label="predicted",
        )
        axes.plot(
            middles, [part.positive_share for part in slices], "s--", ms=4, color="#334155", label="actual"
        )
        _by_date(axes)
        top = max(max(part.mean_probability, part.positive_share) for part in slices)
        axes.set(ylabel="share of rows", ylim=(0, 1.15 * top))
        axes.legend(loc="best")
    return image()


def importance_plot(importances: tuple[Importance, ...], most: int = 15) -> str:
    """Return the most important inputs, by permutation and by impurity."""
    shown = importances[:most][::-1]
    with _figure("What the model looks at", width=9.6, height=0.9 + 0.3 * len(shown)) as (axes, image):
        places = np.arange(len(shown))
        axes.barh(
            places + 0.2,
            [item.permutation for item in shown],
            0.38,
            color=COLOURS[MODEL],
            label="permutation",
        )
        axes.set_yticks(places, [item.name for item in shown])
        axes.set(xlabel="drop of ROC AUC when shuffled")
        axes.grid(visible=False, axis="y")
        shares = axes.twiny()
        shares.barh(places - 0.2, [item.impurity for item in shown], 0.38, color="#c7d2fe", label="impurity")
        shares.set(xlabel="share of impurity decrease")
        shares.grid(visible=False)
        handles = [*axes.get_legend_handles_labels()[0], *shares.get_legend_handles_labels()[0]]
        shares.legend(handles, ["permutation", "impurity"], loc="lower right")
    return image()


class _Image:
    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        self._source = ""

    def render(self) -> None:
        out = io.BytesIO()
        self._figure.savefig(out, format="svg", metadata={"Date": None})
        self._source = "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()

    def __call__(self) -> str:
        return self._source


@contextmanager
def _figure(title: str, width: float = 4.8, height: float = 3.9) -> Iterator[tuple[Any, _Image]]:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        image = _Image(figure)
        yield axes, image
        image.render()


def _ranked(answers: Answers) -> list[str]:
    return [name for name in (ORACLE, MODEL, RECENCY) if name in answers.by]


def _width(name: str) -> float:
    return 2.2 if name == MODEL else 1.4


def _thinned(points: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, points - 1, _POINTS).astype(np.int64))


def _instant(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, tz=UTC)


def _by_date(axes: Any) -> None:
    locator = AutoDateLocator(maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
