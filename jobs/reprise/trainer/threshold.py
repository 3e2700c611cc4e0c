"""The thresholds: the probability from which a purchase is predicted, chosen by a rule for each kind of request."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.evaluation.classification_metrics import Floats, Labels
from reprise.features.request_kinds import KINDS, pools

MIN_PREDICTED_ROWS = 50
"""Fewest rows on which a kind of request has to reach a precision: a few rows reach any by chance."""

MIN_KIND_LABELS = 50
"""Fewest rows of each label with which a kind of request gets a threshold of its own."""

_NUMBER = r"(\d+(?:\.\d+)?)"
_FORMS = {
    "f1": re.compile("f1"),
    "cost": re.compile(f"cost:{_NUMBER},{_NUMBER}"),
    "precision": re.compile(f"precision:{_NUMBER}"),
    "top": re.compile(f"top:{_NUMBER}%"),
}
_EXPECTED = (
    "expected f1, cost:FP,FN with two costs above 0 (cost:1,5), precision:SHARE above 0 and at most 1"
    " (precision:0.8), or top:PERCENT% between 0 and 100 (top:10%)"
)


def parse_rule(text: str) -> tuple[str, tuple[float, ...]]:
    """Return the name of a rule and its numbers.

    Raises:
        ValueError: The text is no rule; says what is.
    """
    for name, form in _FORMS.items():
        if match := form.fullmatch(text):
            numbers = tuple(map(float, match.groups()))
            most = {"precision": 1.0, "top": 99.999}.get(name, np.inf)
            if all(0 < number <= most for number in numbers):
                return name, numbers
    raise ValueError(f"{_EXPECTED}; got {text!r}")


def describe_rule(rule: str) -> str:
    """Return what a threshold by this rule, or ``fixed``, is, for people."""
    if rule == "fixed":
        return "given at training"
    name, numbers = parse_rule(rule)
    return {
        "f1": "with the best F1 on the calibration rows of its kind",
        "cost": "with the least expected cost if a false alarm costs {:g} and a missed purchase {:g}",
        "precision": "that finds most purchases with a precision of at least {:g} on the calibration rows of its kind",
        "top": "reached by {:g}% of the calibration rows of its kind",
    }[name].format(*numbers)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of a model."""

    overall: float  # Of all requests at events together; 1 if none satisfies the rule
    by_kind: tuple[float | None, ...]  # In the order of ``KINDS``; None: no purchase is predicted

    def of(self, kinds: npt.NDArray[np.int8]) -> Floats:
        """Return the threshold of each row's kind; infinite where no purchase is predicted."""
        known = [np.inf if threshold is None else threshold for threshold in self.by_kind]
        return np.array(known)[kinds]


def choose_thresholds(
    rule: str | float, kinds: npt.NDArray[np.int8], at_events: Labels, labels: Labels, probabilities: Floats
) -> Thresholds:
    """Return the thresholds by a rule, or a given one for all kinds.

    A kind with fewer than fifty rows of either label takes the threshold of its group, or that of all rows at events.
    """
    if not isinstance(rule, str):
        return Thresholds(rule, (rule,) * len(KINDS))
    by_kind = []
    for own, group, _ in pools(kinds):
        enough = (
            part for part in (own, group) if min(np.bincount(labels[part], minlength=2)) >= MIN_KIND_LABELS
        )
        part = next(enough, at_events)
        found = choose_threshold(rule, labels[part], probabilities[part], least_rows=MIN_PREDICTED_ROWS)
        by_kind.append(found)
    overall = choose_threshold(rule, labels[at_events], probabilities[at_events])
    return Thresholds(1.0 if overall is None else overall, tuple(by_kind))


def choose_threshold(
    rule: str, labels: Labels, probabilities: Floats, *, least_rows: int = 1
) -> float | None:
    """Return the threshold by a rule; None if no threshold has the precision that it demands.

    - ``f1``: the best F1, the harmonic mean of precision and recall.
    - ``cost:FP,FN``: the least expected cost, if a false alarm costs FP and a missed purchase FN. Of a calibrated
      probability it is FP ÷ (FP + FN) (Elkan, *The foundations of cost-sensitive learning*, IJCAI 2001).
    - ``precision:SHARE``: the most purchases found with at least this precision, on at least ``least_rows`` rows.
    - ``top:PERCENT%``: at most this percentage of the rows, those with the highest probabilities.

    It lies midway to the next lower probability, so that float rounding cannot flip one of these rows.
    """
    name, numbers = parse_rule(rule)
    if name == "cost":
        false_alarm, miss = numbers
        return false_alarm / (false_alarm + miss)
    values, groups = np.unique(probabilities, return_inverse=True)
    predicted, true = (
        np.bincount(groups, weights)[::-1].cumsum()[::-1] for weights in (np.ones(len(labels)), labels)
    )
    if name == "f1":
        chosen = int(np.argmax(2 * true / (predicted + np.count_nonzero(labels))))
    elif name == "precision":
        reached = np.flatnonzero((true >= numbers[0] * predicted) & (predicted >= least_rows))
        if len(reached) == 0:
            return None
        chosen = int(reached[0])
    else:
        chosen = min(int(np.count_nonzero(predicted > numbers[0] / 100 * len(labels))), len(values) - 1)
    return float((values[chosen - 1] if chosen else 0.0) + values[chosen]) / 2
