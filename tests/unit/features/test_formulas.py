"""Formulas: arithmetic over features by name, the same for a single number and for columns."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.features.exceptions import PlanError
from reprise.features.feature_functions import NUMPY, PYTHON, Dialect, Expressions, Symbol, generate_function
from reprise.features.formulas import evaluate_formula, formula_names

NAN = math.nan
SUNDAY_7_AM = 1_795_935_600_000_000  # 2026-11-29T07:00:00Z
number = st.none() | st.floats(-1e18, 1e18) | st.just(math.nan) | st.integers(-(2**53), 2**53)


def generated(formula: str, dialect: Dialect = PYTHON) -> Callable[[Any], Any]:
    function = generate_function(
        dialect, {"row": "ab"}, (), lambda rows, _: [evaluate_formula(formula, rows["row"])]
    )
    return lambda row: function(row)[0]


@pytest.mark.parametrize(
    ("formula", "row", "expected"),
    [
        ("a + b * 2 - 1", (3, 4), 10),
        ("(a + b) / (b - 1)", (4, 3), 3.5),
        ("1 / a", (4, 0), 0.25),
        ("a / b", (4, 0), NAN),
        ("a / b", (4, -2), NAN),
        ("a / b", (None, 2), NAN),
        ("a - -2", (4, 0), 6),
        ("a // 10", (-1, 0), -1),
        ("a % 24", (-1, 0), 23),
        ("if_missing(a / b, 7)", (1, 0), 7),
        ("if_missing(a, b)", (1, 0), 1),
        ("at_least_zero(a)", (-3, 0), 0),
        ("at_least_zero(a)", (None, 0), NAN),
        ("a % 86_400_000_000 // 3_600_000_000", (SUNDAY_7_AM, 0), 7),
        ("(a // 86_400_000_000 + 3) % 7", (SUNDAY_7_AM, 0), 6),
    ],
)
def test_a_formula_has_its_value(formula: str, row: tuple[Any, Any], expected: float) -> None:
    np.testing.assert_equal(generated(formula)(row), float(expected))


@given(st.lists(st.tuples(number, number), min_size=1, max_size=5))
@pytest.mark.parametrize(
    "formula", ["(a + 2 * b) / (b - a)", "at_least_zero(a) * if_missing(b, -1)", "a % 86400 // 3600 - b / 7"]
)
def test_columns_and_single_rows_have_the_same_bits(formula: str, rows: list[tuple[Any, Any]]) -> None:
    columns = np.array([[NAN if each is None else each for each in row] for row in rows], np.float64).T
    single = [generated(formula)(row) for row in rows]
    np.testing.assert_array_equal(generated(formula, NUMPY)(columns), single)


@pytest.mark.parametrize(
    ("formula", "complaint"),
    [
        ("tears / a", "'tears' is no feature before it"),
        ("a.real", "'a.real' is not allowed"),
        ("__import__('os')", r"\"__import__\('os'\)\" is not allowed"),
        ("a if b else a", "is not allowed"),
        ("a ** b", r"'a \*\* b' is not allowed"),
        ("a > b", "is not allowed"),
        ("-a", "'-a' is not allowed"),
        ("if_missing(a)", "is not allowed"),
        ("a + True", "'True' is not allowed"),
        ("a // b", "b must be a positive number"),
        ("a % 0", "0 must be a positive number"),
        ("a + 1 / 2", "1 and 2 read no input"),
        ("3", "reads no input"),
        ("a +", "is no expression"),
        ("a + 1e999", "expected a finite number"),
        (f"a + 1{400 * '0'}", "too large"),
        ("a" + " + a" * 2_000, "recursion"),
        ("(" * 500 + "a" + ")" * 500, "is no expression"),
    ],
)
def test_what_is_no_formula_is_refused(formula: str, complaint: str) -> None:
    symbols = Expressions(PYTHON)
    with pytest.raises(PlanError, match=complaint):
        evaluate_formula(formula, {name: Symbol(symbols, name) for name in "ab"})


def test_the_names_of_a_formula_are_what_it_reads() -> None:
    assert formula_names("if_missing(a / b, 7) - a") == {"a", "b"}
