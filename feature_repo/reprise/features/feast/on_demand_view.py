"""The body of Feast's on-demand feature view: states to feature vectors."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import orjson
import pandas as pd

from reprise.features.exceptions import CollidingStatesError
from reprise.features.feature_functions import FloatArray
from reprise.features.plan import REQUEST_FIELDS, EntityPlan, Plan
from reprise.features.vectorizer import FeatureVectorizer

_FUNCTION = "model_inputs"
_SOURCE = '''\
def {name}(rows):
    """Compute the model's inputs from the states at the request's instant, by plan {hash}."""
    from reprise.features.feast.on_demand_view import compute_inputs

    return compute_inputs({plan!r}, rows)
'''


def udf_source(plan: Plan) -> str:
    """Return the source of the view's function, which contains the plan.

    Feast's registry keeps the function as source text. With the plan in the text, the view uses the plan that was
    applied, whatever plan is in the checkout.
    """
    return _SOURCE.format(name=_FUNCTION, hash=plan.hash, plan=orjson.dumps(plan.to_dict()).decode())


def load_udf(source: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the function of this source, loaded as Feast loads it."""
    namespace: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {}
    exec(source, namespace)  # noqa: S102 - our own source, out of the registry
    return namespace[_FUNCTION]


def compute_inputs(plan_json: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return every model input of every row, missing values as NaN.

    The rows have the inputs' fields of the three state views as ``view__field``, and ``REQUEST_FIELDS``.

    Raises:
        CollidingStatesError: The states were joined by their fields' names alone.
    """
    plan, vectorizer = _vectorizer(plan_json)
    _require_full_names(plan, list(rows.columns))
    user, product, pair = (_states(rows, entity) for entity in plan.entities)
    timestamp_us, amount, is_purchase = (_floats(rows, name) for name in REQUEST_FIELDS)
    inputs = vectorizer.matrix(user, product, pair, timestamp_us, amount, is_purchase)
    return pd.DataFrame(inputs, columns=list(vectorizer.names), index=rows.index)


@lru_cache(maxsize=8)
def _vectorizer(plan_json: str) -> tuple[Plan, FeatureVectorizer]:
    plan = Plan.from_dict(orjson.loads(plan_json))
    return plan, FeatureVectorizer(plan, [entity.projection.view for entity in plan.entities])


def _require_full_names(plan: Plan, columns: list[str]) -> None:
    """Raise if the states were requested without full names.

    Feast passes both forms of each name, first the requested one. Without full names, fields that several views
    share have overwritten one another.
    """
    fields = [
        (field.name, entity.view.name) for entity in plan.entities for field in entity.projection.view.fields
    ]
    for field, view in dict(reversed(fields)).items():  # for each name the first view that has it
        if field in columns and columns.index(field) < columns.index(f"{view}__{field}"):
            raise CollidingStatesError(
                f"ask Feast with full_feature_names=True: several state views have a {field!r}"
            )


def _states(rows: pd.DataFrame, entity: EntityPlan) -> FloatArray:
    """Return the states, shape (rows, fields); an entity without a row has the empty state."""
    read = entity.projection
    columns = [_floats(rows, f"{read.view.name}__{field.name}") for field in read.view.fields]
    filled = [
        values if empty is None else np.where(np.isnan(values), empty, values)
        for values, empty in zip(columns, read.empty, strict=True)
    ]
    return np.reshape(filled, (len(filled), len(rows))).T


def _floats(rows: pd.DataFrame, column: str) -> FloatArray:
    values: FloatArray = pd.to_numeric(rows[column]).to_numpy(dtype=np.float64, na_value=np.nan)
    return values
