"""The feature vector: from the states of a user, a product and their pair to the model's inputs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reprise.features.feature_functions import NUMPY, PYTHON, FloatArray, generate_function
from reprise.features.plan import REQUEST_FIELDS, Plan
from reprise.store.feast.view import StateView

StateRow = Sequence[Any]
"""An entity's state in view order: numbers, bytes for a packed list, None for a missing value."""

_CHUNK_ROWS = 2_048
"""Rows that are computed at once; the arrays of all steps together fit into a processor's cache."""


class FeatureVectorizer:
    """Computes the model's inputs from states, for one request or for many.

    ``views`` are the fields that the states of user, product and pair hold, in order; all by default.
    """

    def __init__(self, plan: Plan, views: Sequence[StateView] | None = None) -> None:
        views = [entity.view for entity in plan.entities] if views is None else views
        self.names = plan.input_names
        self._purchase_type = plan.purchase_type

        fields: dict[str, list[str]] = {
            entity.name: [field.name for field in view.fields]
            for entity, view in zip(plan.entities, views, strict=True)
        }
        self._vector = generate_function(PYTHON, fields, REQUEST_FIELDS, plan.values)
        self._matrix = generate_function(NUMPY, fields, REQUEST_FIELDS, plan.values)

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
        return self._vector(
            user,
            product,
            pair,
            timestamp_us,
            math.nan if amount is None else amount,
            self.is_purchase(event_type),
        )

    def is_purchase(self, event_type: str | None) -> float:
        """Return 1.0 for the type of event that is predicted, 0.0 for another, NaN for none."""
        return math.nan if event_type is None else float(event_type == self._purchase_type)

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

        States have the shape (n, fields of the view), and NaN where missing. The others have the shape (n,): instants
        in microseconds since 1970-01-01 UTC, the requests' own amounts, and 1.0 for a purchase, 0.0 for another event,
        NaN if unknown.
        """
        out = np.empty((len(self.names), len(timestamp_us)))
        instants = np.asarray(timestamp_us, dtype=np.float64)
        for start in range(0, len(instants), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            # Feature functions read whole columns, so each column is contiguous.
            states = (np.ascontiguousarray(state[rows].T) for state in (user, product, pair))
            out[:, rows] = self._matrix(*states, instants[rows], amount[rows], is_purchase[rows])
        return out.T
