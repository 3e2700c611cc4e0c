"""The plots of the model card, each the source of an ``<img>`` element."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from reprise.bundle import Importance, Scores
from reprise.evaluation.classification_metrics import RankedPredictions
from reprise.reports import figures
from reprise.reports.figures import GREY, INDIGO, PALE_INDIGO, SKY, SLATE, figure
from reprise.trainer.evaluation.baselines import PREVALENCE, RECENCY
from reprise.trainer.evaluation.held_out import MODEL, NAMES, ORACLE, Predictions, TimeSlice

COLOURS = {MODEL: INDIGO, RECENCY: figures.AMBER, PREVALENCE: GREY, ORACLE: figures.GREEN}

_MAX_POINTS = 400


def roc_plot(predictions: Predictions) -> str:
    """Return the ROC curves of model, recency and oracle."""
    with figure("ROC curve") as (axes, image):
        for name, style in _curves(predictions):
            false_rate, true_rate, _ = roc_curve(predictions.rows.labels, predictions.by_scorer[name])
            kept = _thinned(len(true_rate))
            axes.plot(false_rate[kept], true_rate[kept], **style)
        axes.plot([0, 1], [0, 1], color=GREY, ls=":", label="chance")
        axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axes.legend(loc="lower right")
    return image.data_uri


def precision_recall_plot(predictions: Predictions, scores: Scores) -> str:
    """Return the precision-recall curves, with the model's point at its thresholds."""
    with figure("Precision and recall") as (axes, image):
        labels = predictions.rows.labels
        for name, style in _curves(predictions):
            precision, recall, _ = precision_recall_curve(labels, predictions.by_scorer[name])
            kept = _thinned(len(recall))
            axes.plot(recall[kept], precision[kept], **style)
            if name == MODEL:
                at = [np.nan if value is None else value for value in (scores.recall, scores.precision)]
                axes.plot(*at, "o", color=INDIGO, label="at the thresholds")
        axes.axhline(labels.mean(), color=GREY, ls=":", label="prevalence")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, None))
        axes.legend(loc="upper right")
    return image.data_uri


def calibration_plot(predictions: Predictions) -> str:
    """Return the calibration curves of all rows and of repeat candidates, with 95% intervals."""
    with figure("Calibration") as (axes, image):
        largest = 0.0
        repeat = predictions.subset(predictions.rows.repeat_candidates)
        for title, part, style, colour in (
            ("all rows", predictions, "o-", INDIGO),
            ("repeat candidates", repeat, "s--", SKY),
        ):
            if len(part.rows) == 0:
                continue
            curve = RankedPredictions.of(part.rows.labels, part.by_scorer[MODEL]).calibration_curve()
            predicted, actual, rows = (
                np.array([getattr(point, name) for point in curve])
                for name in ("mean_probability", "positive_share", "rows")
            )
            errors = 1.96 * np.sqrt(actual * (1 - actual) / rows)
            axes.errorbar(
                predicted, actual, yerr=errors, fmt=style, color=colour, ms=4, lw=1.5, capsize=2, label=title
            )
            largest = max(largest, float(predicted.max()), float(actual.max()))
        figures.calibration_axes(axes, largest)
    return image.data_uri


def score_plot(predictions: Predictions) -> str:
    """Return the distribution of the probabilities of rows with and without a purchase."""
    with figure("Probabilities by outcome") as (axes, image):
        scores, labels = predictions.by_scorer[MODEL], predictions.rows.labels
        bins = np.linspace(0, max(float(scores.max()), 1e-3), 41)
        for title, chosen, colour in (("no purchase", ~labels, GREY), ("purchase", labels, INDIGO)):
            axes.hist(scores[chosen], bins=bins, density=True, alpha=0.6, color=colour, label=title)
        axes.set(xlabel="probability", ylabel="density")
        axes.legend()
    return image.data_uri


def gain_plot(predictions: Predictions) -> str:
    """Return which share of the purchases the rows with the highest probabilities have."""
    with figure("Cumulative gain") as (axes, image):
        for name, style in _curves(predictions):
            found = predictions.rows.labels[np.argsort(-predictions.by_scorer[name], kind="stable")].cumsum()
            kept = _thinned(len(found))
            axes.plot((kept + 1) / len(found), found[kept] / found[-1], **style)
        axes.plot([0, 1], [0, 1], color=GREY, ls=":", label="chance")
        axes.set(xlabel="share of rows, the most probable first", ylabel="share of purchases among them")
        axes.legend(loc="lower right")
    return image.data_uri


def cost_plot(predictions: Predictions) -> str:
    """Return the cost curves: expected cost by the share of the cost of a false alarm in that of both errors.

    A purchase is predicted from that share on, the threshold of the least expected cost (Drummond and Holte, 2006).
    """
    with figure("Expected cost") as (axes, image):
        labels, shares = predictions.rows.labels, np.linspace(0.01, 0.99, 99)
        for name, style in _curves(predictions):
            scores = predictions.by_scorer[name]
            negatives, positives = np.sort(scores[~labels]), np.sort(scores[labels])
            false_alarms = len(negatives) - np.searchsorted(negatives, shares)
            costs = (shares * false_alarms + (1 - shares) * np.searchsorted(positives, shares)) / len(labels)
            axes.plot(shares, costs, **style)
        rate = labels.mean()
        trivial = np.minimum(shares * (1 - rate), (1 - shares) * rate)
        axes.plot(shares, trivial, color=GREY, ls=":", label="always or never")
        axes.set(
            xlabel="cost of a false alarm ÷ (that + cost of a missed purchase)", ylabel="mean cost per row"
        )
        axes.legend(loc="upper right")
    return image.data_uri


def time_plot(slices: list[TimeSlice]) -> str:
    """Return the ROC AUC over the evaluation span."""
    with figure("ROC AUC over the evaluation span") as (axes, image):
        for name in (ORACLE, MODEL, RECENCY):
            if name in slices[0].aucs:
                aucs = [np.nan if part.aucs[name] is None else part.aucs[name] for part in slices]
                axes.plot(_middles(slices), aucs, "o-", ms=4, **_style(name))
        figures.date_axis(axes, maxticks=6)
        axes.set(ylabel="ROC AUC")
        axes.legend(loc="best")
    return image.data_uri


def rate_plot(slices: list[TimeSlice]) -> str:
    """Return the predicted and the actual purchase rate over the evaluation span."""
    with figure("Purchase rate, predicted and actual") as (axes, image):
        predicted, actual = zip(
            *((part.mean_probability, part.positive_share) for part in slices), strict=True
        )
        axes.plot(_middles(slices), predicted, "o-", ms=4, color=INDIGO, label="predicted")
        axes.plot(_middles(slices), actual, "s--", ms=4, color=SLATE, label="actual")
        figures.date_axis(axes, maxticks=6)
        axes.set(ylabel="share of rows", ylim=(0, 1.15 * max(*predicted, *actual)))
        axes.legend(loc="best")
    return image.data_uri


def importance_plot(importances: tuple[Importance, ...], most: int = 15) -> str:
    """Return the most important inputs, by permutation and by impurity."""
    shown = importances[:most][::-1]
    with figure("Input importance", size=(9.6, 0.9 + 0.3 * len(shown))) as (axes, image):
        places = np.arange(len(shown))
        by_permutation = axes.barh(places + 0.2, [item.permutation for item in shown], 0.38, color=INDIGO)
        axes.set_yticks(places, [item.name for item in shown])
        axes.set(xlabel="drop of ROC AUC when shuffled")
        axes.grid(visible=False, axis="y")
        shares = axes.twiny()
        by_impurity = shares.barh(places - 0.2, [item.impurity for item in shown], 0.38, color=PALE_INDIGO)
        shares.set(xlabel="share of impurity decrease")
        shares.grid(visible=False)
        shares.legend([by_permutation, by_impurity], ["permutation", "impurity"], loc="lower right")
    return image.data_uri


def _curves(predictions: Predictions) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, _style(name)) for name in (ORACLE, MODEL, RECENCY) if name in predictions.by_scorer)


def _style(name: str) -> dict[str, Any]:
    return {"color": COLOURS[name], "label": NAMES[name], "lw": 2.2 if name == MODEL else 1.4}


def _thinned(points: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, points - 1, _MAX_POINTS).astype(np.int64))


def _middles(slices: list[TimeSlice]) -> list[Any]:
    return [figures.instant((part.span.start_us + part.span.end_us) // 2) for part in slices]
