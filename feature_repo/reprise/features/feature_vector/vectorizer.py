"""The feature vector: from the states of a user, a product and their pair to the model's inputs."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from reprise.features.feature_functions import ARRAYS, FloatArray, Operations, bind
from reprise.features.feature_vector.codegen import generate_function
from reprise.features.plan import ModelInput, Plan
from reprise.store.feast.view import StateView

StateRow = Sequence[float | int | None]
"""An entity's state in view order; None is a missing value."""

_PURCHASE = "purchase"


class FeatureVectorizer:
    """Computes the model's inputs from states, for one request or for many.

    Args:
        plan: The plan.
        views: The fields that the states of user, product and pair hold, in order; all by default.
    """

    def __init__(self, plan: Plan, views: Sequence[StateView] | None = None) -> None:
        views = [entity.view for entity in plan.entities] if views is None else views
        self.names = plan.input_names
        self._generated = generate_function(
            [len(view.fields) for view in views], partial(_compute_inputs, plan, views)
        )
        self._array_functions = _bind_all(plan, views, ARRAYS)
        self._request_functions = _bind_requests(plan, ARRAYS)

    def vector(
        self,
        user: StateRow,
        product: StateRow,
        pair: StateRow,
        timestamp_us: int,
        amount: float | None = None,
        event_type: str | None = None,
    ) -> list[float]:
        """Return the model's inputs for one request, in plan order; NaN where missing.

        The instant is in microseconds since 1970-01-01 UTC; amount and event type are the request's own.
        """
        is_purchase = math.nan if event_type is None else float(event_type == _PURCHASE)
        return self._generated(
            user, product, pair, timestamp_us, math.nan if amount is None else amount, is_purchase
        )

    def matrix(
        self,
        user: FloatArray,
        product: FloatArray,
        pair: FloatArray,
        timestamp_us: FloatArray,
        amount: FloatArray,
        is_purchase: FloatArray,
    ) -> FloatArray:
        """Return the model's inputs for n requests, shape (n, inputs), float64, NaN where missing.

        Args:
            user: States of the users, shape (n, fields of the view), NaN where missing.
            product: States of the products, likewise.
            pair: States of the pairs, likewise.
            timestamp_us: Instants, shape (n,), microseconds since 1970-01-01 UTC.
            amount: The requests' own amounts, shape (n,).
            is_purchase: 1.0 for a purchase, 0.0 for another event, NaN if unknown, shape (n,).
        """
        # Feature functions read whole columns, so each column is contiguous.
        out = np.empty((len(self.names), len(timestamp_us)))
        instants = np.asarray(timestamp_us, dtype=np.float64)
        at = 0
        for state, functions in zip((user, product, pair), self._array_functions, strict=True):
            columns = list(np.ascontiguousarray(state.T))
            for function in functions:
                out[at] = function(columns, instants)
                at += 1
        for step in self._request_functions:
            out[at] = step((amount, is_purchase), out)
            at += 1
        return out.T


def _compute_inputs(
    plan: Plan, views: Sequence[StateView], ops: Operations, rows: Sequence[Sequence[Any]], instant: Any
) -> list[Any]:
    *states, request = rows
    values = [
        function(row, instant)
        for row, functions in zip(states, _bind_all(plan, views, ops), strict=True)
        for function in functions
    ]
    for step in _bind_requests(plan, ops):
        values.append(step(request, values))
    return values


def _bind_all(
    plan: Plan, views: Sequence[StateView], ops: Operations
) -> list[list[Callable[[Any, Any], Any]]]:
    indices = [{field.name: at for at, field in enumerate(view.fields)} for view in views]
    return [
        [bind(i.finish, index, ops) for i in entity.inputs]
        for entity, index in zip(plan.entities, indices, strict=True)
    ]


def _bind_requests(plan: Plan, ops: Operations) -> list[Callable[[Any, Any], Any]]:
    index = {name: at for at, name in enumerate(plan.input_names)}
    return [_bind_request(model_input, index, ops) for model_input in plan.request_inputs]


def _bind_request(
    model_input: ModelInput, index: dict[str, int], ops: Operations
) -> Callable[[Any, Any], Any]:
    spec = model_input.finish
    if spec["kind"] == "request":
        at = ("amount", "is_purchase").index(spec["field"])
        return lambda request, _: request[at]
    numerator, denominator, ratio = index[spec["numerator"]], index[spec["denominator"]], ops.ratio
    return lambda _, values: ratio(values[numerator], values[denominator])
