"""Feature functions: one definition, for a single number, for columns, and in SQL."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.features.exceptions import PlanError
from reprise.features.feature_functions import (
    FUNCTIONS,
    NUMPY,
    PYTHON,
    SQL,
    Dialect,
    Expressions,
    Symbol,
    Tape,
    evaluate,
    feature_sql,
    generate_function,
)
from reprise.features.vectorizer import FeatureVectorizer
from support.plans import checked_in_plan

DAY_US = 86_400_000_000
PLAN = checked_in_plan()
VECTORIZER = FeatureVectorizer(PLAN)

count = st.integers(0, 40).map(float)
amount = st.floats(0, 1e9) | st.just(math.nan)
instant = st.integers(-5 * 365 * DAY_US, 50 * 365 * DAY_US).map(float) | st.just(math.nan)
moment = st.integers(-5 * 365 * DAY_US, 50 * 365 * DAY_US)
number = st.none() | st.integers(0, 2**53) | st.floats(min_value=0, max_value=1e300) | st.just(-0.0)

VALUE = {"kind": "value", "field": "b"}
RATIO = {"kind": "ratio", "numerator": "a", "denominator": "b"}
STD = {"kind": "std", "n": "b", "m2": "a"}
SINCE = {"kind": "since", "instant": "a", "unit_us": 10}
BETWEEN = {"kind": "between", "first": "a", "last": "b", "n": "c", "unit_us": 10}
DECAYED = {"kind": "decayed", "value": "a", "reference": "b", "half_life_us": 10}
ABOVE = {"kind": "above", "of": {"kind": "value", "field": "a"}, "threshold": 1}

CASES: Mapping[str, tuple[Mapping[str, Any], st.SearchStrategy[tuple[float, float, float]]]] = {
    "value": (VALUE, st.tuples(amount, amount, amount)),
    "ratio": (RATIO, st.tuples(amount, count, count)),
    "std": (STD, st.tuples(st.floats(0, 1e18), count, count)),
    "since": ({**SINCE, "unit_us": DAY_US}, st.tuples(instant, count, count)),
    "between": ({**BETWEEN, "unit_us": DAY_US}, st.tuples(instant, instant, count)),
    "decayed": ({**DECAYED, "half_life_us": 7 * DAY_US}, st.tuples(amount, instant, count)),
    "above": (ABOVE, st.tuples(count | amount, count, count)),
}


def test_every_kind_has_a_case() -> None:
    assert set(CASES) == set(FUNCTIONS)


def generated(spec: Mapping[str, Any], dialect: Dialect = PYTHON) -> Callable[[Any, Any], Any]:
    function = generate_function(
        dialect, {"row": "abc"}, ("t",), lambda rows, numbers: [evaluate(spec, rows["row"], numbers["t"])]
    )
    return lambda row, t: function(row, t)[0]


@pytest.mark.parametrize(
    ("spec", "row", "t", "expected"),
    [
        (VALUE, (1, 2, 3), 0, 2),
        (VALUE, (1, None, 3), 0, math.nan),
        (RATIO, (6, 4, 0), 0, 1.5),
        (RATIO, (6, 0, 0), 0, math.nan),
        (RATIO, (6, math.nan, 0), 0, math.nan),
        (STD, (18, 3, 0), 0, 3),
        (STD, (0, 1, 0), 0, math.nan),
        (STD, (0, 0, 0), 0, math.nan),
        (SINCE, (5, 0, 0), 30, 2.5),
        (SINCE, (5, 0, 0), 1, 0),
        (SINCE, (math.nan, 0, 0), 30, math.nan),
        (BETWEEN, (0, 60, 4), 99, 2),
        (BETWEEN, (5, 5, 1), 99, math.nan),
        (DECAYED, (8, 5, 0), 35, 1),
        (DECAYED, (8, 5, 0), 1, 8),
        (DECAYED, (0, math.nan, 0), 35, 0),
        (ABOVE, (1, 0, 0), 0, 0),
        (ABOVE, (2, 0, 0), 0, 1),
        (ABOVE, (math.nan, 0, 0), 0, 0),
    ],
)
def test_a_feature_function_is_worth(
    spec: Mapping[str, Any], row: tuple[float, ...], t: int, expected: float
) -> None:
    value = generated(spec)(row, t)
    assert value == pytest.approx(expected, nan_ok=True, abs=0)
    assert type(value) is float


def literal(value: float) -> str:
    return "NULL::DOUBLE" if math.isnan(value) else f"({value!r})::DOUBLE"


@pytest.mark.parametrize("kind", CASES)
@settings(max_examples=30)
@given(data=st.data())
def test_columns_and_sql_have_the_values_of_single_numbers(kind: str, data: st.DataObject) -> None:
    spec, row = CASES[kind]
    rows = data.draw(st.lists(st.tuples(row, moment), min_size=1, max_size=6))
    singly = [generated(spec)(values, t) for values, t in rows]
    columns = np.array([values for values, _ in rows]).T
    together = generated(spec, NUMPY)(columns, np.array([t for _, t in rows], dtype=np.float64))
    np.testing.assert_allclose(together, singly, rtol=1e-15, atol=0, equal_nan=True)
    values, t = rows[0]
    sql = Expressions(SQL)
    state = {name: Symbol(sql, literal(value)) for name, value in zip("abc", values, strict=True)}
    text = SQL.result.format(evaluate(spec, state, Symbol(sql, literal(t))).text)
    [(found,)] = duckdb.sql(f"SELECT {text}").fetchall()
    rel = 1e-15 if kind in ("value", "between", "above") else 1e-14
    assert (math.nan if found is None else found) == pytest.approx(singly[0], nan_ok=True, rel=rel)


@pytest.mark.parametrize("spec", [SINCE, DECAYED, {"kind": "above", "of": SINCE, "threshold": 1}])
def test_what_changes_with_time_cannot_be_aggregated_over_pairs(spec: Mapping[str, Any]) -> None:
    with pytest.raises(PlanError, match="depends on the instant, so it cannot be aggregated over pairs"):
        feature_sql(spec, str)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"kind": "median"}, "unknown finish kind 'median'; known are value"),
        ({}, "unknown finish kind None"),
        ({"kind": "value", "field": "z"}, "'z' is neither a parameter nor a field of the state"),
        ({"kind": "ratio", "numerator": "a"}, "'denominator' is neither"),
        ({"kind": "since", "instant": "a"}, "'unit_us' is neither"),
        ({"kind": "above", "threshold": 1, "of": {"kind": "value", "field": "z"}}, "'z' is neither"),
        *(
            ({**SINCE, "unit_us": unit}, "expected a finite number")
            for unit in (math.nan, math.inf, None, [1])
        ),
        ({**SINCE, "unit_us": "1); import os"}, "expected a finite number"),
    ],
)
def test_a_spec_that_describes_no_feature_function_is_refused(
    spec: Mapping[str, Any], complaint: str
) -> None:
    with pytest.raises(PlanError, match=complaint):
        generated(spec)


def test_step_that_repeats_is_computed_once() -> None:
    tape = Tape(PYTHON)
    t, a = Symbol(tape, "t"), Symbol(tape, "a")
    assert ((t - a) / 7).text == ((t - a) / 7).text
    assert len(tape.variables) == 2


def test_feature_function_that_branches_is_refused() -> None:
    with pytest.raises(TypeError, match="must not branch"):
        bool(Symbol(Tape(PYTHON), "a"))


def bits(values: list[float]) -> list[str]:
    return [value.hex() for value in values]


def drawn_states(data: st.DataObject) -> list[list[float | None]]:
    sizes = (len(entity.view.fields) for entity in PLAN.entities)
    return [data.draw(st.lists(number, min_size=size, max_size=size)) for size in sizes]


ONE_BY_ONE = [
    generate_function(
        PYTHON, {"state": list(entity.field_index)}, ("t",), lambda rows, numbers, finish=each.finish: [
            evaluate(finish, rows["state"], numbers["t"])
        ]
    )
    for entity in PLAN.entities
    for each in entity.inputs
]  # fmt: skip


@settings(max_examples=50)
@given(data=st.data(), t=st.integers(0, 2**53))
def test_whole_plan_has_the_same_bits_together_and_one_by_one(data: st.DataObject, t: int) -> None:
    states = drawn_states(data)
    owners = [state for entity, state in zip(PLAN.entities, states, strict=True) for _ in entity.inputs]
    one_by_one = [value for one, state in zip(ONE_BY_ONE, owners, strict=True) for value in one(state, t)]
    together = VECTORIZER.vector(*states, t, 3.0, "purchase")
    assert bits(together[: len(one_by_one)]) == bits(one_by_one)


@settings(max_examples=50)
@given(data=st.data(), t=st.integers(0, 2**53))
def test_the_fields_that_the_inputs_read_are_enough(data: st.DataObject, t: int) -> None:
    states = drawn_states(data)
    parts = [entity.projection.view for entity in PLAN.entities]
    assert sum(len(part.fields) for part in parts) < sum(map(len, states))
    read = [
        [state[entity.field_index[field.name]] for field in part.fields]
        for state, entity, part in zip(states, PLAN.entities, parts, strict=True)
    ]
    assert bits(FeatureVectorizer(PLAN, parts).vector(*read, t)) == bits(VECTORIZER.vector(*states, t))
