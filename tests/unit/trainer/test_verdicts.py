import numpy as np
import pytest

from reprise.bundle import KindVerdict
from reprise.features.request_kinds import KINDS
from reprise.trainer.evaluation.verdicts import MIN_TAIL_ROWS, judge_verdicts


def judge(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float | None, kind: int = 0
) -> KindVerdict:
    kinds = np.full(len(labels), kind, np.int8)
    return judge_verdicts(kinds, labels, probabilities, [threshold] * len(KINDS))[KINDS[kind]]


@pytest.mark.parametrize("seed", range(20))
def test_confidence_starts_at_the_precision_and_never_falls_outwards(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = int(random.integers(50, 700))
    probabilities = random.integers(0, 31, rows) / 31  # with ties, and labels that they say little of
    labels, threshold = random.random(rows) < 0.4 + probabilities / 5, (random.integers(1, 31) - 0.5) / 31
    verdict = judge(labels, probabilities, threshold)
    predicted = probabilities >= threshold
    place = verdict.edges.index(threshold)
    below, above = verdict.confidences[: place + 1], verdict.confidences[place + 1 :]
    assert sorted(below, reverse=True) == list(below)
    assert sorted(above) == list(above)
    yes, no = verdict.least_confidences
    if predicted.any():
        assert yes == pytest.approx(labels[predicted].mean())
    if not predicted.all():
        assert no == pytest.approx(1 - labels[~predicted].mean())
    assert verdict.true_positives == (predicted & labels).sum()
    for edge in verdict.edges[place + 1 :]:
        assert (probabilities >= edge).sum() >= MIN_TAIL_ROWS
    for edge in verdict.edges[:place]:
        assert (probabilities < edge).sum() >= MIN_TAIL_ROWS


def test_confidence_is_the_share_of_the_tail_not_of_the_luckiest_one() -> None:
    random = np.random.default_rng(3)
    probabilities = random.beta(1, 4, 40_000)
    verdict = judge(random.random(40_000) < probabilities, probabilities, 0.3)
    assert 45 <= len(verdict.edges) <= 51
    many = random.beta(1, 4, 1_000_000)
    for place, stated in enumerate(verdict.confidences):
        if place > verdict.edges.index(0.3):
            tail = many >= verdict.edges[place - 1]
            right = many[tail].mean()
        else:
            tail = many < verdict.edges[place]
            right = 1 - many[tail].mean()
        error = np.sqrt(right * (1 - right) / (tail.mean() * 40_000))
        assert abs(stated - right) < 4 * error


def test_a_kind_with_few_rows_takes_the_table_of_its_group() -> None:
    random = np.random.default_rng(4)
    kinds = np.array([3] * 5_000 + [4] * 50 + [0] * 5_000, np.int8)
    probabilities = random.random(len(kinds))
    labels = random.random(len(kinds)) < np.where(kinds == 0, probabilities / 2, probabilities)
    found = judge_verdicts(kinds, labels, probabilities, [0.5] * len(KINDS))
    own, small, other = (found[KINDS[kind]] for kind in (3, 4, 0))
    assert (own.pooled, small.pooled, other.pooled) == (False, True, False)
    assert small.true_positives + small.false_positives < 50
    assert small.least_confidences[0] == pytest.approx(own.least_confidences[0], abs=0.01)
    assert other.least_confidences[0] == pytest.approx(0.375, abs=0.03)


def test_kind_that_never_predicts_a_purchase_has_one_side() -> None:
    probabilities = np.linspace(0, 1, 1_000)
    labels = probabilities > 0.7
    verdict = judge(labels, probabilities, None)
    assert verdict.threshold is None
    assert verdict.least_confidences == (None, pytest.approx(0.7, abs=0.01))
    assert verdict.true_positives + verdict.false_positives == 0
