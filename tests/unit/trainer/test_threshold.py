import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.trainer.model.fitted_model import best_f1_threshold

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=4, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(ROWS)
def test_no_threshold_has_a_better_f1(rows: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([r[0] for r in rows]), np.array([r[1] / 20 for r in rows])

    def f1(threshold: float) -> float:
        predicted = scores >= threshold
        return float(2 * (predicted & labels).sum() / (predicted.sum() + labels.sum()))

    chosen = best_f1_threshold(labels, scores)
    assert f1(chosen) == pytest.approx(max(f1(t) for t in [*scores, *(scores + 0.01)]))
    assert chosen not in scores[scores != scores.min()]
