"""Finishing inside Feast: the body of the on-demand feature view."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import orjson
import pandas as pd

from reprise.features.exceptions import CollidingStatesError
from reprise.features.feature_vector.feature_functions import FloatArray
from reprise.features.feature_vector.vectorizer import FeatureVectorizer
from reprise.features.plan import EntityPlan, Plan

REQUEST_FIELDS = ("timestamp_us", "amount", "is_purchase")
"""What a request tells besides its ids: its instant, its own amount, and 1.0 if it is a purchase, 0.0 if not."""

_FUNCTION = "finish_states"
_SOURCE = '''\
def {name}(rows):
    """Finish the states of user, product and pair at the request's instant, by plan {hash}."""
    from reprise.features.feast.on_demand_view import finish_frame

    return finish_frame({plan!r}, rows)
'''


def finishing_source(plan: Plan) -> str:
    """Return the source of the function that finishes, the plan within it.

    Feast keeps an on-demand view's function as source text and runs that text wherever it reads the registry,
    so the text has to say everything: the registry then finishes by the plan that was applied, whatever
    plan lies in the checkout.
    """
    return _SOURCE.format(name=_FUNCTION, hash=plan.hash, plan=orjson.dumps(plan.to_dict()).decode())


def finishing_function(source: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the function of this source, as Feast itself makes it."""
    namespace: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {}
    exec(source, namespace)
    return namespace[_FUNCTION]


def finish_frame(plan_json: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return every model input of every row, missing values as NaN.

    Args:
        plan_json: The plan.
        rows: The fields of the three state views as ``view__field``, and ``REQUEST_FIELDS``.

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
    return plan, FeatureVectorizer(plan)


def _require_full_names(plan: Plan, columns: list[str]) -> None:
    """Feast gives both forms of each name, the asked one first and the other copied from it.

    Where fields were asked for by their own names, those that several views share have overwritten one another.
    """
    fields = [(field.name, entity.view.name) for entity in plan.entities for field in entity.view.fields]
    for field, view in dict(reversed(fields)).items():  # for each name the first view that has it
        if field in columns and columns.index(field) < columns.index(f"{view}__{field}"):
            raise CollidingStatesError(
                f"ask Feast with full_feature_names=True: several state views have a {field!r}"
            )


def _states(rows: pd.DataFrame, entity: EntityPlan) -> FloatArray:
    """Return the states; an entity without a row has the empty one, whose fields are never null in a row."""
    out = np.empty((len(rows), len(entity.view.fields)))
    for at, (field, empty) in enumerate(zip(entity.view.fields, entity.empty, strict=True)):
        values = _floats(rows, f"{entity.view.name}__{field.name}")
        out[:, at] = values if empty is None else np.where(np.isnan(values), empty, values)
    return out


def _floats(rows: pd.DataFrame, column: str) -> FloatArray:
    values: FloatArray = pd.to_numeric(rows[column]).to_numpy(dtype=np.float64, na_value=np.nan)
    return values
