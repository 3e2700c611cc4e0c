"""The traced function gives, to the last bit, what the finishes give one by one."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.features.exceptions import PlanError
from reprise.features.feature_functions import NUMBERS, bind
from reprise.features.feature_vector.codegen import Tape, generate_function
from reprise.features.feature_vector.vectorizer import FeatureVectorizer, _compute_inputs
from support.plans import checked_in_plan

PLAN = checked_in_plan()
VECTORIZER = FeatureVectorizer(PLAN)
INDEX = {name: at for at, name in enumerate("abcde")}
UNIT = 86_400_000_000

numbers = st.none() | st.integers(0, 2**53) | st.floats(min_value=0, max_value=1e300) | st.just(-0.0)
instants = st.integers(0, 2**53)
SPECS: list[dict[str, Any]] = [
    {"kind": "value", "field": "a"},
    {"kind": "ratio", "numerator": "a", "denominator": "b"},
    {"kind": "std", "n": "a", "m2": "b"},
    {"kind": "since", "instant": "a", "unit_us": UNIT},
    {"kind": "between", "first": "a", "last": "b", "n": "c", "unit_us": UNIT},
    {"kind": "decayed", "value": "a", "reference": "b", "half_life_us": 7 * UNIT},
    {"kind": "above", "of": {"kind": "ratio", "numerator": "a", "denominator": "b"}, "threshold": 1},
]


def bits(values: list[float]) -> list[str]:
    return [value.hex() for value in values]


@settings(max_examples=100)
@given(data=st.data(), instant=instants, amount=st.none() | st.floats(0, 1e9))
def test_whole_plan_is_the_same_traced_and_one_by_one(
    data: st.DataObject, instant: int, amount: float | None
) -> None:
    states = [
        data.draw(st.lists(numbers, min_size=size, max_size=size))
        for size in (len(entity.view.fields) for entity in PLAN.entities)
    ]
    rows: list[Any] = [[math.nan if value is None else value for value in state] for state in states]
    rows.append((math.nan if amount is None else amount, 1.0))
    views = [entity.view for entity in PLAN.entities]
    one_by_one = [float(value) for value in _compute_inputs(PLAN, views, NUMBERS, rows, instant)]
    assert bits(VECTORIZER.vector(*states, instant, amount, "purchase")) == bits(one_by_one)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["kind"])
@given(row=st.lists(numbers, min_size=5, max_size=5), t=instants)
def test_each_finish_is_the_same_traced(spec: dict[str, Any], row: list[float | None], t: int) -> None:
    generated = generate_function(
        [5, 0, 0], lambda ops, rows, instant: [bind(spec, INDEX, ops)(rows[0], instant)]
    )
    plain = bind(spec, INDEX, NUMBERS)([math.nan if value is None else value for value in row], t)
    assert bits(generated(row, [], [], t, math.nan, math.nan)) == bits([float(plain)])


def test_step_that_repeats_is_computed_once() -> None:
    tape = Tape()
    t, a = tape.step("t"), tape.step("a")
    assert (t - a).name == (t - a).name
    assert tape.lines() == ["v0 = t", "v1 = a", "v2 = v0 - v1"]


@pytest.mark.parametrize("unit", [math.nan, math.inf, "1); import os", None, [1]])
def test_parameter_that_is_no_finite_number_never_becomes_code(unit: Any) -> None:
    spec = {"kind": "since", "instant": "a", "unit_us": unit}
    with pytest.raises(PlanError, match="expected a finite number"):
        generate_function([5, 0, 0], lambda ops, rows, instant: [bind(spec, INDEX, ops)(rows[0], instant)])


def test_finish_that_branches_by_itself_is_refused() -> None:
    with pytest.raises(TypeError, match="must not branch"):
        generate_function([1, 0, 0], lambda ops, rows, instant: [instant if rows[0][0] else rows[0][0]])


@given(data=st.data(), instant=instants)
def test_what_inputs_are_finished_from_is_enough(data: st.DataObject, instant: int) -> None:
    states = [
        data.draw(st.lists(numbers, min_size=size, max_size=size))
        for size in (len(entity.view.fields) for entity in PLAN.entities)
    ]
    parts = [entity.projection.view for entity in PLAN.entities]
    assert sum(len(part.fields) for part in parts) < sum(map(len, states))
    read = [
        [state[entity.field_index[field.name]] for field in part.fields]
        for state, entity, part in zip(states, PLAN.entities, parts, strict=True)
    ]
    assert bits(FeatureVectorizer(PLAN, parts).vector(*read, instant)) == bits(
        VECTORIZER.vector(*states, instant)
    )
