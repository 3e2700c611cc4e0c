"""Finishes: one definition, for a single number and for columns of them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.features.exceptions import PlanError
from reprise.features.feature_functions import _BUILDERS, ARRAYS, NUMBERS, bind, feature_sql

DAY_US = 86_400_000_000
INDEX = {"a": 0, "b": 1, "c": 2}

count = st.integers(0, 40).map(float)
amount = st.floats(0, 1e9) | st.just(math.nan)
instant = st.integers(-5 * 365 * DAY_US, 50 * 365 * DAY_US).map(float) | st.just(math.nan)

CASES: Mapping[str, tuple[Mapping[str, Any], st.SearchStrategy[tuple[float, float, float]]]] = {
    "value": ({"kind": "value", "field": "b"}, st.tuples(amount, amount, amount)),
    "ratio": ({"kind": "ratio", "numerator": "a", "denominator": "b"}, st.tuples(amount, count, count)),
    "std": ({"kind": "std", "n": "b", "m2": "a"}, st.tuples(st.floats(0, 1e18), count, count)),
    "since": ({"kind": "since", "instant": "a", "unit_us": DAY_US}, st.tuples(instant, count, count)),
    "between": (
        {"kind": "between", "first": "a", "last": "b", "n": "c", "unit_us": DAY_US},
        st.tuples(instant, instant, count),
    ),
    "decayed": (
        {"kind": "decayed", "value": "a", "reference": "b", "half_life_us": 7 * DAY_US},
        st.tuples(amount, instant, count),
    ),
    "above": (
        {"kind": "above", "of": {"kind": "value", "field": "a"}, "threshold": 1},
        st.tuples(count | amount, count, count),
    ),
}


def test_every_kind_has_a_case() -> None:
    assert set(CASES) == set(_BUILDERS)


@pytest.mark.parametrize("kind", CASES)
@given(data=st.data())
def test_columns_finish_as_single_numbers_do(kind: str, data: st.DataObject) -> None:
    spec, row = CASES[kind]
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    at = data.draw(
        st.lists(st.integers(-5 * 365 * DAY_US, 50 * 365 * DAY_US), min_size=len(rows), max_size=len(rows))
    )
    one, many = bind(spec, INDEX, NUMBERS), bind(spec, INDEX, ARRAYS)
    singly = [one(values, t) for values, t in zip(rows, at, strict=True)]
    together = many(list(np.array(rows).T), np.array(at, dtype=np.float64))
    np.testing.assert_allclose(together, singly, rtol=1e-15, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("spec", "row", "t", "expected"),
    [
        ({"kind": "value", "field": "b"}, (1, 2, 3), 0, 2),
        ({"kind": "ratio", "numerator": "a", "denominator": "b"}, (6, 4, 0), 0, 1.5),
        ({"kind": "ratio", "numerator": "a", "denominator": "b"}, (6, 0, 0), 0, math.nan),
        ({"kind": "ratio", "numerator": "a", "denominator": "b"}, (6, math.nan, 0), 0, math.nan),
        ({"kind": "std", "n": "b", "m2": "a"}, (18, 3, 0), 0, 3),
        ({"kind": "std", "n": "b", "m2": "a"}, (0, 1, 0), 0, math.nan),
        ({"kind": "std", "n": "b", "m2": "a"}, (0, 0, 0), 0, math.nan),
        ({"kind": "since", "instant": "a", "unit_us": 10}, (5, 0, 0), 30, 2.5),
        ({"kind": "since", "instant": "a", "unit_us": 10}, (5, 0, 0), 1, 0),
        ({"kind": "since", "instant": "a", "unit_us": 10}, (math.nan, 0, 0), 30, math.nan),
        ({"kind": "between", "first": "a", "last": "b", "n": "c", "unit_us": 10}, (0, 60, 4), 99, 2),
        ({"kind": "between", "first": "a", "last": "b", "n": "c", "unit_us": 10}, (5, 5, 1), 99, math.nan),
        ({"kind": "decayed", "value": "a", "reference": "b", "half_life_us": 10}, (8, 5, 0), 35, 1),
        ({"kind": "decayed", "value": "a", "reference": "b", "half_life_us": 10}, (8, 5, 0), 1, 8),
        ({"kind": "decayed", "value": "a", "reference": "b", "half_life_us": 10}, (0, math.nan, 0), 35, 0),
        ({"kind": "above", "of": {"kind": "value", "field": "a"}, "threshold": 1}, (1, 0, 0), 0, 0),
        ({"kind": "above", "of": {"kind": "value", "field": "a"}, "threshold": 1}, (2, 0, 0), 0, 1),
        ({"kind": "above", "of": {"kind": "value", "field": "a"}, "threshold": 1}, (math.nan, 0, 0), 0, 0),
    ],
)
def test_a_finish_is_worth(spec: Mapping[str, Any], row: tuple[float, ...], t: int, expected: float) -> None:
    assert bind(spec, INDEX, NUMBERS)(row, t) == pytest.approx(expected, nan_ok=True, abs=0)


@pytest.mark.parametrize("kind", ["value", "between", "above"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_sql_of_a_finish_is_that_finish(kind: str, data: st.DataObject) -> None:
    spec, row = CASES[kind]
    values = data.draw(row)
    columns = dict(zip("abc", ("NULL" if v != v else f"({v!r})::DOUBLE" for v in values), strict=True))  # noqa: PLR0124
    [(found,)] = duckdb.sql(f"SELECT {feature_sql(spec, columns.__getitem__)}").fetchall()
    expected = bind(spec, INDEX, NUMBERS)(values, 0)
    assert (math.nan if found is None else found) == pytest.approx(expected, nan_ok=True, rel=1e-15)


@pytest.mark.parametrize("kind", ["since", "decayed", "ratio", "std"])
def test_what_cannot_be_summed_over_pairs_has_no_sql(kind: str) -> None:
    with pytest.raises(PlanError, match=f"a pair's {kind} cannot be aggregated over pairs"):
        feature_sql(CASES[kind][0], str)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"kind": "median"}, "unknown finish kind 'median'; known are value"),
        ({}, "unknown finish kind None"),
        ({"kind": "value", "field": "z"}, "'z' is neither a parameter nor a field of the state"),
        ({"kind": "ratio", "numerator": "a"}, "'denominator' is neither"),
        ({"kind": "above", "threshold": 1, "of": {"kind": "value", "field": "z"}}, "'z' is neither"),
    ],
)
def test_a_spec_that_describes_no_finish_is_refused(spec: Mapping[str, Any], complaint: str) -> None:
    bound: Callable[[], object] = lambda: bind(spec, INDEX, NUMBERS)  # noqa: E731
    with pytest.raises(PlanError, match=complaint):
        bound()
