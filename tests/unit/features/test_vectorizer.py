"""The model's inputs for one request; the parity tests compare many at once with these."""

from typing import Any

import numpy as np
import pytest

from reprise.features.vectorizer import FeatureVectorizer
from support.plans import checked_in_plan

PLAN = checked_in_plan()
VECTORIZER = FeatureVectorizer(PLAN)
NOW_US = 1_800_000_000_000_000


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
