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
            own = [c for c in candidates if c.entity == entity]
            if own:
                out.update(_entity_inputs(es, keyed, entity, own))
    return out


def _entity_inputs(
    es: ft.EntitySet, requests: pd.DataFrame, entity: EntityName, candidates: Sequence[Candidate]
) -> dict[str, FloatArray]:
    index, features = _INDEX[entity], [c.feature for c in candidates]
    # Featuretools' value for an entity that is not in the EntitySet is the primitive's default.
    defaults = [np.nan if pd.isna(f.default_value) else float(f.default_value) for f in features]
    values = np.tile(defaults, (len(requests), 1))
    exists = requests[index].isin(es[TARGETS[entity]][index]).to_numpy()
    if exists.any():
        cutoffs = requests.loc[exists, [index, "timestamp"]].rename(columns={"timestamp": "time"})
        # Each distinct (entity, instant) is computed once.
        matrix: Any = ft.calculate_feature_matrix(
            features,
            es,
            cutoff_time=cutoffs.drop_duplicates(ignore_index=True),
            include_cutoff_time=False,
            cutoff_time_in_index=True,
        )
        computed = matrix[[f.get_name() for f in features]].astype("float64")
        values[exists] = computed.reindex(pd.MultiIndex.from_frame(cutoffs)).to_numpy()
    return {c.name: values[:, at] for at, c in enumerate(candidates)}
