import numpy as np
import pytest

from reprise.bundle import KindVerdict
from reprise.features.request_kinds import KINDS
from reprise.trainer.evaluation.verdicts import MIN_TAIL_ROWS, judge_verdicts


def judge(
    labels: np.ndarray, probabilities: np.ndarray, users: np.ndarray | None, threshold: float | None
) -> KindVerdict:
    kinds, each = np.zeros(len(labels), np.int8), np.arange(len(labels)) if users is None else users
    return judge_verdicts(kinds, labels, probabilities, [threshold] * len(KINDS), each)[KINDS[0]]


@pytest.mark.parametrize("seed", range(20))
def test_confidence_starts_at_the_precision_and_never_falls_outwards(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = int(random.integers(50, 700))
    probabilities = random.integers(0, 31, rows) / 31  # with ties, and labels that they say little of
    labels, threshold = random.random(rows) < 0.4 + probabilities / 5, (random.integers(1, 31) - 0.5) / 31
    verdict = judge(labels, probabilities, None, threshold)
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


@pytest.mark.parametrize("rows_per_user", [1, 20])
def test_confidence_is_what_later_verdicts_reach(rows_per_user: int) -> None:
    """Users differ in the log-odds of buying by more than the probability says, so that their rows are correlated."""
    random = np.random.default_rng(3)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        users = np.repeat(np.arange(count), rows_per_user)
        probabilities = random.beta(1, 4, len(users))
        taste = np.repeat(random.normal(0, 1, count), rows_per_user)
        return (
            1 / (1 + np.exp(taste) * (1 / probabilities - 1)) > random.random(len(users)),
            probabilities,
            users,
        )

    labels, later, _ = draw(200_000 // rows_per_user)
    order = later.argsort()
    later, bought = later[order], np.append(0, labels[order].cumsum())
    stated, reached = [], []
    for _ in range(20):
        verdict = judge(*draw(4_000 // rows_per_user), 0.3)
        at = verdict.edges.index(0.3)
        below = np.searchsorted(later, verdict.edges)
        right = [
            1 - bought[below[:at]] / below[:at],
            (bought[-1] - bought[below[at + 1 :]]) / (len(later) - below[at + 1 :]),
        ]
        reached += np.concatenate(right).tolist()
        stated += [*verdict.confidences[:at], *verdict.confidences[at + 2 :]]
    gains = np.subtract(reached, stated)
    assert (gains < 0).mean() < 0.15, "where it is the share at the threshold, chance may raise it"
    assert gains.mean() < 0.06, "conservative, but not by much"


def test_confidence_is_below_1_where_no_row_was_wrong() -> None:
    probabilities = np.linspace(0, 1, 1_000)
    verdict = judge(probabilities >= 0.5, probabilities, None, 0.5)
    assert verdict.least_confidences == (pytest.approx(500 / 503.84, rel=1e-4),) * 2
    of_few = judge(probabilities >= 0.5, probabilities, np.arange(1_000) // 100, 0.5)
    assert of_few.least_confidences == (pytest.approx(5 / 8.84, rel=1e-3),) * 2
    assert max(of_few.confidences) < 0.6


def test_a_kind_with_few_rows_takes_the_table_of_its_group() -> None:
    random = np.random.default_rng(4)
    kinds = np.array([3] * 5_000 + [4] * 50 + [0] * 5_000, np.int8)
    probabilities = random.random(len(kinds))
    labels = random.random(len(kinds)) < np.where(kinds == 0, probabilities / 2, probabilities)
    found = judge_verdicts(kinds, labels, probabilities, [0.5] * len(KINDS), np.arange(len(kinds)))
    own, small, other = (found[KINDS[kind]] for kind in (3, 4, 0))
    assert (own.pooled, small.pooled, other.pooled) == (False, True, False)
    assert small.true_positives + small.false_positives < 50
    assert small.least_confidences[0] == pytest.approx(own.least_confidences[0], abs=0.01)
    assert other.least_confidences[0] == pytest.approx(0.375, abs=0.03)


def test_kind_that_never_predicts_a_purchase_has_one_side() -> None:
    probabilities = np.linspace(0, 1, 1_000)
    labels = probabilities > 0.7
    verdict = judge(labels, probabilities, None, None)
    assert verdict.threshold is None
    assert verdict.least_confidences == (None, pytest.approx(0.7, abs=0.01))
    assert verdict.true_positives + verdict.false_positives == 0
