"""Our own primitives, as Featuretools sees them."""

from pathlib import Path

import featuretools as ft
import pandas as pd
import pytest
from featuretools.primitives import DecayedCount, DecayedSum, get_aggregation_primitives

from reprise.features import primitives

COUNT = "DECAYED_COUNT(orders.at, half_life_days=1)"
SUM = "DECAYED_SUM(orders.amount, at, half_life_days=1)"


@pytest.fixture(scope="module")
def entity_set() -> ft.EntitySet:
    orders = pd.DataFrame(
        {
            "order": [1, 2, 3, 4],
            "user": ["ann", "ann", "ann", "bob"],
            "at": pd.to_datetime(["2026-01-01", "2026-01-07", "2026-01-08", "2026-01-06"]),
            "amount": [16.0, 4.0, None, 8.0],
        }
    )
    es = ft.EntitySet("shop")
    es.add_dataframe(
        dataframe_name="orders",
        dataframe=orders,
        index="order",
        time_index="at",
        logical_types={"user": "Unknown", "amount": "Double"},
    )
    users = pd.DataFrame({"user": ["ann", "bob", "eve"]})
    es.add_dataframe(dataframe_name="users", dataframe=users, index="user", logical_types={"user": "Unknown"})
    return es.add_relationship("users", "user", "orders", "user")


@pytest.fixture(scope="module")
def synthesized(entity_set: ft.EntitySet) -> list[ft.Feature]:
    return ft.dfs(
        entityset=entity_set,
        target_dataframe_name="users",
        agg_primitives=[DecayedCount(half_life_days=1), DecayedSum(half_life_days=1)],
        trans_primitives=[],
        features_only=True,
    )


def test_they_are_registered_with_featuretools_and_the_half_life_is_a_week_unless_given() -> None:
    registered = get_aggregation_primitives()
    for primitive in (primitives.DecayedCount, primitives.DecayedSum):
        assert registered[primitive.name] is primitive
        assert primitive().half_life_days == 7
    assert (DecayedCount, DecayedSum) == (primitives.DecayedCount, primitives.DecayedSum)


def test_each_event_weighs_half_as_much_after_each_half_life_also_of_saved_features(
    entity_set: ft.EntitySet, synthesized: list[ft.Feature], tmp_path: Path
) -> None:
    assert {COUNT, SUM} <= {feature.get_name() for feature in synthesized}
    ft.save_features(synthesized, str(tmp_path / "features.json"))
    for features in (synthesized, ft.load_features(str(tmp_path / "features.json"))):
        found = ft.calculate_feature_matrix(features, entity_set, cutoff_time=pd.Timestamp("2026-01-08"))
        values = found.astype("float64").loc[["ann", "bob", "eve"]]
        assert values[COUNT].tolist() == [2.0**-7 + 0.5 + 1.0, 0.25, 0.0]
        assert values[SUM].tolist() == [16 * 2.0**-7 + 4 * 0.5, 2.0, 0.0]


def test_a_description_says_the_half_life(synthesized: list[ft.Feature]) -> None:
    said = {feature.get_name(): ft.describe_feature(feature) for feature in synthesized}
    orders = 'of all instances of "orders" for each "user" in "users".'
    assert said[COUNT] == f"The number, halving every 1 days, {orders}"
    assert said[SUM] == f'The sum, halving every 1 days, of the "amount" {orders}'
