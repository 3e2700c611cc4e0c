"""The on-demand view's function finishes as the predictor does, by the plan within its own source."""

import numpy as np
import pandas as pd
import pytest

from reprise.features.exceptions import CollidingStatesError
from reprise.features.feast.on_demand_view import compute_inputs, load_udf, udf_source
from reprise.features.plan import Plan
from reprise.features.vectorizer import FeatureVectorizer
from support.plans import checked_in_plan
from support.served_bundles import small_plan


def state_frame(plan: Plan, rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {
        f"{entity.view.name}__{field.name}": rng.integers(1, 1_000, rows).astype(np.float64)
        for entity in plan.entities
        for field in entity.projection.view.fields
    }
    columns["timestamp_us"] = np.full(rows, 2_000_000_000_000_000)
    columns["amount"], columns["is_purchase"] = rng.random(rows), np.ones(rows)
    return pd.DataFrame(columns)


def test_the_sources_of_plans_alone_finish_what_the_finisher_finishes_and_do_not_mix() -> None:
    plans = checked_in_plan(), small_plan()
    functions = [load_udf(udf_source(plan)) for plan in plans]
    for plan, finish in zip(plans, functions, strict=True):
        rows = state_frame(plan, 20)
        found = finish(rows)
        views = [entity.projection.view for entity in plan.entities]
        vectorizer = FeatureVectorizer(plan, views)
        for at, row in enumerate(rows.to_dict("records")):
            states = [[row[f"{view.name}__{f.name}"] for f in view.fields] for view in views]
            expected = vectorizer.vector(*states, row["timestamp_us"], row["amount"], "purchase")
            np.testing.assert_allclose(found.iloc[at].to_numpy(), expected, rtol=1e-12)
        assert tuple(found.columns) == plan.input_names


def test_an_entity_without_a_row_has_the_empty_state() -> None:
    plan = checked_in_plan()
    rows = state_frame(plan, 1).astype(object)
    rows.loc[:, [name for name in rows.columns if "__" in name]] = None
    found = load_udf(udf_source(plan))(rows)
    expected = FeatureVectorizer(plan).vector(
        *(entity.empty for entity in plan.entities), 2_000_000_000_000_000, rows["amount"][0], "purchase"
    )
    np.testing.assert_array_equal(found.iloc[0].to_numpy(), expected)


def test_states_joined_by_bare_names_are_refused() -> None:
    plan = checked_in_plan()
    rows = state_frame(plan, 1)
    others = {field.name for field in plan.product.projection.view.fields}
    shared = next(field.name for field in plan.user.projection.view.fields if field.name in others)
    with pytest.raises(CollidingStatesError, match="full_feature_names=True"):
        compute_inputs(plan.dumps().decode(), rows.assign(**{shared: 1.0})[[shared, *rows.columns]])
