import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.status.sparkline import HEIGHT, WIDTH, Sparkline, sparkline

VALUES = st.lists(st.none() | st.floats(0, 1e9), max_size=2000)


def corners(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


@given(VALUES)
def test_every_curve_stays_in_its_box_and_has_few_points(values: list[float | None]) -> None:
    curve = sparkline(values)
    if curve is None:
        return
    assert 2 <= curve.points <= 121
    for x, y in corners(curve.line):
        assert 0 <= x <= WIDTH
        assert 0 < y < HEIGHT


@pytest.mark.parametrize("values", [[], [1.0], [None, None], [None, 3.0, None]])
def test_fewer_than_two_points_are_no_curve(values: list[float | None]) -> None:
    assert sparkline(values) is None


def drawn(values: list[float | None], min_top: float = 0.0) -> Sparkline:
    curve = sparkline(values, min_top=min_top)
    assert curve is not None
    return curve


def test_curve_reaches_from_edge_to_edge_and_from_zero_to_the_highest() -> None:
    curve = drawn([0, 5, 10])
    assert corners(curve.line) == [(0, 45), (120, 24), (240, 3)]
    assert curve.last == (240, 3)


def test_gap_interrupts_the_line() -> None:
    curve = drawn([1, 1, None, 1, None])
    assert (curve.line.count("M"), curve.last) == (2, None)


def test_noise_far_below_what_matters_looks_like_noise() -> None:
    assert corners(drawn([0.0, 0.001], min_top=0.1).line)[-1][1] > HEIGHT * 0.9


def test_many_values_are_averaged_and_the_newest_is_the_last() -> None:
    assert drawn([0.0] * 1000 + [9.0] * 12).last == (WIDTH, 3)
