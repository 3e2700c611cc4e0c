"""The threshold: the probability from which a purchase is predicted, chosen by a rule."""

import re

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Labels

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
        "f1": "with the best F1 on the calibration rows",
        "cost": "with the least expected cost if a false alarm costs {:g} and a missed purchase {:g}",
        "precision": "that finds most purchases with a precision of at least {:g} on the calibration rows",
        "top": "reached by {:g}% of the calibration rows",
    }[name].format(*numbers)


def choose_threshold(rule: str, labels: Labels, probabilities: Floats) -> float | None:
    """Return the threshold by a rule; None if no threshold has the precision that it demands.

    - ``f1``: the best F1, the harmonic mean of precision and recall.
    - ``cost:FP,FN``: the least expected cost, if a false alarm costs FP and a missed purchase FN. Of a calibrated
      probability it is FP ÷ (FP + FN) (Elkan, *The foundations of cost-sensitive learning*, IJCAI 2001).
    - ``precision:SHARE``: the most purchases found with at least this precision.
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
        reached = np.flatnonzero(true >= numbers[0] * predicted)
        if len(reached) == 0:
            return None
        chosen = int(reached[0])
    else:
        chosen = min(int(np.count_nonzero(predicted > numbers[0] / 100 * len(labels))), len(values) - 1)
    return float((values[chosen - 1] if chosen else 0.0) + values[chosen]) / 2
