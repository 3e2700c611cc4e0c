"""The model's inputs from states: for one request, and for many."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reprise.features.plan import EntityPlan
from reprise.features.vectorizer import FeatureVectorizer
from support.plans import checked_in_plan

PLAN = checked_in_plan()
VECTORIZER = FeatureVectorizer(PLAN)
NOW_US = 1_800_000_000_000_000
DAY_US = 86_400_000_000


def state_rows(entity: EntityPlan) -> st.SearchStrategy[list[float | int | None]]:
    """States that may be: counts and instants where whole numbers are, non-negative doubles, some missing."""
    counts, instants = st.integers(0, 50), st.integers(NOW_US - 2000 * DAY_US, NOW_US)
    values: list[st.SearchStrategy[float | int | None]] = []
    for field, empty in zip(entity.view.fields, entity.empty, strict=True):
        if field.kind == "bytes":
            values.append(st.none())
        elif field.kind == "int64":
            values.append(st.none() | instants if empty is None else counts)
        else:
            values.append(st.floats(0, 1e9) if empty is not None else st.none() | st.floats(0, 1e9))
    return st.tuples(*values).map(list)


def as_array(rows: list[list[float | int | None]]) -> np.ndarray:
    return np.array([[math.nan if value is None else value for value in row] for row in rows])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.tuples(
            state_rows(PLAN.user),
            state_rows(PLAN.product),
            state_rows(PLAN.pair),
            st.integers(NOW_US - 3000 * DAY_US, NOW_US + 3000 * DAY_US),
            st.none() | st.floats(0, 1e9),
            st.sampled_from((None, "purchase", "view", "cart")),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_many_is_one_for_each_row(rows: list[tuple]) -> None:
    singly = np.array([VECTORIZER.vector(*row) for row in rows])
    users, products, pairs, instants, amounts, types = (list(column) for column in zip(*rows, strict=True))
    together = VECTORIZER.matrix(
        as_array(users),
        as_array(products),
        as_array(pairs),
        np.array(instants, dtype=np.float64),
        np.array([math.nan if a is None else a for a in amounts]),
        np.array([math.nan if t is None else float(t == "purchase") for t in types]),
    )
    assert together.shape == (len(rows), len(PLAN.inputs))
    np.testing.assert_allclose(together, singly, rtol=1e-14, atol=0, equal_nan=True)


def asked(**request: Any) -> dict[str, float]:
    """The inputs of a user with purchases of 100 in all, and of a product and pair never seen."""
    spent = {"purchases_amount_n": 4, "purchases_amount_sum": 100.0}
    state = [spent.get(f.name, e) for f, e in zip(PLAN.user.view.fields, PLAN.user.empty, strict=True)]
    values = VECTORIZER.vector(state, PLAN.product.empty, PLAN.pair.empty, NOW_US, **request)
    assert {type(value) for value in values} == {float}
    return dict(zip(VECTORIZER.names, values, strict=True))


def test_no_rows_make_no_inputs() -> None:
    empty = [np.empty((0, len(entity.view.fields))) for entity in PLAN.entities]
    assert VECTORIZER.matrix(*empty, np.empty(0), np.empty(0), np.empty(0)).shape == (0, len(PLAN.inputs))


def test_the_requests_own_amount_is_related_to_the_users_average() -> None:
    values = asked(amount=50)
    assert (values["avg_transaction_amount"], values["amount_to_user_average"]) == (25.0, 2.0)
    assert values["request_amount"] == 50.0


@pytest.mark.parametrize(("event_type", "expected"), [("purchase", 1.0), ("view", 0.0), ("cart", 0.0)])
def test_the_requests_type_says_whether_it_is_a_purchase(event_type: str, expected: float) -> None:
    assert asked(event_type=event_type)["request_is_purchase"] == expected
