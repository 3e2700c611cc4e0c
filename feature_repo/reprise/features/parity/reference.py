"""The reference executor: Featuretools itself, with one cutoff per row. It is slow, and defines what is right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from reprise.features.discovery.candidates import Candidate
from reprise.features.discovery.definition import Definition
from reprise.features.discovery.entity_set import PAIR_ID, TARGETS, entity_set, pair_ids
from reprise.features.discovery.featuretools_compat import ft, suppress_warnings
from reprise.features.feature_functions import FloatArray
from reprise.features.plan import ENTITY_NAMES, EntityName

_INDEX = {"user": "user_id", "product": "product_id", "pair": PAIR_ID}


def reference_inputs(
    events: pd.DataFrame, requests: pd.DataFrame, candidates: Sequence[Candidate], definition: Definition
) -> dict[str, FloatArray]:
    """Return each candidate's value for each request, by name, shape (requests,), NaN where missing.

    ``events`` has the columns of ``entity_set``. ``requests`` has ``user_id``, ``product_id`` and ``timestamp``
    (datetime64[ns], UTC without a zone).
    """
    keyed = requests.assign(**{PAIR_ID: pair_ids(requests)})
    out: dict[str, FloatArray] = {}
    with suppress_warnings():
        es = entity_set(events, definition.frames)
        for entity in ENTITY_NAMES:
            own = [c for c in candidates if c.compiled.entity == entity]
            if own:
                out.update(_entity_inputs(es, keyed, entity, own))
    return out


def _entity_inputs(
    es: ft.EntitySet, requests: pd.DataFrame, entity: EntityName, candidates: Sequence[Candidate]
) -> dict[str, FloatArray]:
    index = _INDEX[entity]
    known = set(es[TARGETS[entity]][index])
    exists = requests[index].isin(known).to_numpy()
    defaults = np.array([_default(c.feature) for c in candidates])
    values = np.tile(defaults, (len(requests), 1))
    if exists.any():
        values[exists] = _calculate(es, requests.loc[exists], index, candidates)
    return {c.name: values[:, at] for at, c in enumerate(candidates)}


def _calculate(
    es: ft.EntitySet, requests: pd.DataFrame, index: str, candidates: Sequence[Candidate]
) -> FloatArray:
    """Compute each distinct (entity, instant) once, and return its values for each request."""
    cutoffs = requests[[index, "timestamp"]].rename(columns={"timestamp": "time"})
    distinct = cutoffs.drop_duplicates().reset_index(drop=True)
    matrix: Any = ft.calculate_feature_matrix(
        [c.feature for c in candidates],
        es,
        cutoff_time=distinct,
        include_cutoff_time=False,
        cutoff_time_in_index=True,
    )
    computed = matrix.reset_index()[[index, "time"]].assign(at=np.arange(len(matrix)))
    at = cutoffs.merge(computed, on=[index, "time"], how="left")["at"].to_numpy()
    columns = [pd.to_numeric(matrix[c.feature.get_name()], errors="raise") for c in candidates]
    values: FloatArray = np.column_stack([np.asarray(c.astype("float64")) for c in columns])
    by_request: FloatArray = values[at]
    return by_request


def _default(feature: Any) -> float:
    """Return Featuretools' value for an entity that is not in the EntitySet: the primitive's default."""
    value = feature.default_value
    return float("nan") if pd.isna(value) else float(value)
