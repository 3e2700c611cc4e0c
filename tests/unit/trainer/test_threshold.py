import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.trainer.threshold import choose_threshold, choose_thresholds, describe_rule

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=4, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


def arrays(rows: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels, the scores, and every threshold that makes a difference."""
    scores = np.array([score / 20 for _, score in rows])
    return np.array([label for label, _ in rows]), scores, np.unique([*scores, *(scores + 0.01)])


@given(ROWS)
def test_no_threshold_has_a_better_f1(rows: list[tuple[bool, int]]) -> None:
    labels, scores, every = arrays(rows)

    def f1(threshold: float) -> float:
        predicted = scores >= threshold
        return float(2 * (predicted & labels).sum() / (predicted.sum() + labels.sum()))

    chosen = choose_threshold("f1", labels, scores)
    assert f1(chosen) == pytest.approx(max(map(f1, every)))
    assert chosen not in scores[scores != scores.min()]


@given(ROWS, st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_precision_is_reached_with_the_most_purchases_found(
    rows: list[tuple[bool, int]], least: float
) -> None:
    labels, scores, every = arrays(rows)

    def found(threshold: float) -> int:
        predicted = scores >= threshold
        reached = predicted.any() and labels[predicted].mean() >= least - 1e-12
        return int((predicted & labels).sum()) if reached else -1

    chosen = choose_threshold(f"precision:{least}", labels, scores)
    best = max(map(found, every))
    assert (chosen is None) == (best == -1)
    if chosen is not None:
        assert found(chosen) == best


@given(ROWS, st.integers(1, 99))
def test_top_takes_no_more_than_its_share_unless_the_first_are_tied(
    rows: list[tuple[bool, int]], percent: int
) -> None:
    labels, scores, every = arrays(rows)
    chosen = choose_threshold(f"top:{percent}%", labels, scores)
    shares = [float((scores >= threshold).mean()) for threshold in every]
    allowed = [share for share in shares if 0 < share <= percent / 100]
    assert (scores >= chosen).mean() == max(allowed, default=float((scores == scores.max()).mean()))


def test_costs_give_the_threshold_of_a_calibrated_probability() -> None:
    random = np.random.default_rng(0)
    probabilities = random.beta(1, 3, 200_000)
    labels = random.random(len(probabilities)) < probabilities

    def cost(threshold: float) -> float:
        predicted = probabilities >= threshold
        return float((predicted & ~labels).sum() + 5 * (~predicted & labels).sum())

    chosen = choose_threshold("cost:1,5", labels, probabilities)
    assert chosen == pytest.approx(1 / 6)
    assert cost(chosen) < min(cost(chosen - 0.03), cost(chosen + 0.03))


def test_each_kind_gets_its_threshold_and_one_that_cannot_satisfy_the_rule_gets_none() -> None:
    random = np.random.default_rng(0)
    kinds = np.array([0] * 4_000 + [1] * 80 + [2] * 4_000 + [3] * 4_000 + [4] * 4_000, np.int8)
    probabilities = random.random(len(kinds)) * np.where(kinds == 2, 0.5, 1.0)
    labels = random.random(len(kinds)) < np.where(kinds == 4, probabilities / 2, probabilities)
    events = kinds != 2
    found = choose_thresholds("precision:0.75", kinds, events, labels, probabilities)
    event, small, never, repeat, other, absent = found.by_kind
    assert event == pytest.approx(0.5, abs=0.06)  # a mean of 0.75 above it
    assert repeat == pytest.approx(event, abs=0.06)
    group = choose_threshold("precision:0.75", labels[kinds < 3], probabilities[kinds < 3])
    assert small == group
    assert never is None
    assert other is None
    assert absent == choose_threshold(
        "precision:0.75", labels[kinds > 2], probabilities[kinds > 2], least_rows=50
    )
    assert found.overall == choose_threshold("precision:0.75", labels[events], probabilities[events])
    assert np.isinf(found.of(kinds)[kinds == 2]).all()
    assert choose_thresholds(0.3, kinds, events, labels, probabilities).by_kind == (0.3,) * 6


def test_rules_are_described() -> None:
    assert "costs 1 and a missed purchase 5" in describe_rule("cost:1,5")
    assert "at least 0.8" in describe_rule("precision:0.8")
    assert describe_rule("fixed") == "given at training"
