"""Our own primitives, as Featuretools sees them."""

from pathlib import Path

import featuretools as ft
import numpy as np
import pandas as pd
import pytest
from featuretools.primitives import DecayedCount, DecayedSum, get_aggregation_primitives

from reprise.features import primitives

NOW = pd.Timestamp("2026-01-08")


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


def synthesized() -> list[ft.Feature]:
    return ft.dfs(
        entityset=entity_set(),
        target_dataframe_name="users",
        agg_primitives=[DecayedCount(half_life_days=1), DecayedSum(half_life_days=1)],
        trans_primitives=[],
        features_only=True,
    )


def matrix(features: list[ft.Feature]) -> pd.DataFrame:
    found = ft.calculate_feature_matrix(features, entity_set(), cutoff_time=NOW)
    return found.astype("float64").loc[["ann", "bob", "eve"]]


def test_they_are_registered_with_featuretools() -> None:
    assert DecayedCount is primitives.DecayedCount
    assert DecayedSum is primitives.DecayedSum
    registered = get_aggregation_primitives()
    assert (registered["decayed_count"], registered["decayed_sum"]) == (DecayedCount, DecayedSum)


def test_deep_feature_synthesis_applies_them() -> None:
    names = [feature.get_name() for feature in synthesized()]
    assert "DECAYED_COUNT(orders.at, half_life_days=1)" in names
    assert "DECAYED_SUM(orders.amount, at, half_life_days=1)" in names


def test_each_event_weighs_half_as_much_after_each_half_life() -> None:
    values = matrix(synthesized())
    counts = values["DECAYED_COUNT(orders.at, half_life_days=1)"]
    sums = values["DECAYED_SUM(orders.amount, at, half_life_days=1)"]
    assert counts.tolist() == [2.0**-7 + 0.5 + 1.0, 0.25, 0.0]
    assert sums.tolist() == [16 * 2.0**-7 + 4 * 0.5, 2.0, 0.0]


def test_saved_features_are_loaded_with_their_parameters(tmp_path: Path) -> None:
    features = synthesized()
    ft.save_features(features, str(tmp_path / "features.json"))
    loaded = ft.load_features(str(tmp_path / "features.json"))
    assert [f.get_name() for f in loaded] == [f.get_name() for f in features]
    assert [f.primitive.half_life_days for f in loaded] == [1, 1]
    pd.testing.assert_frame_equal(matrix(loaded), matrix(features))


def test_a_description_says_the_half_life() -> None:
    said = [ft.describe_feature(feature) for feature in synthesized()]
    assert (
        'The number, halving every 1 days, of all instances of "orders" for each "user" in "users".' in said
    )
    assert (
        'The sum, halving every 1 days, of the "amount" of all instances of "orders" for each "user" in "users".'
        in said
    )


@pytest.mark.parametrize("primitive", [DecayedCount, DecayedSum])
def test_the_half_life_is_a_week_unless_said(primitive: type) -> None:
    assert primitive().half_life_days == 7


@pytest.mark.parametrize("primitive", [DecayedCount, DecayedSum])
def test_the_example_of_the_docstring_holds(primitive: type) -> None:
    times = pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"]))
    decayed = primitive(half_life_days=1)
    cutoff = pd.Timestamp("2026-01-03")
    if primitive is DecayedCount:
        assert decayed(times, time=cutoff) == 0.75
    else:
        assert decayed(pd.Series([8.0, 2.0]), times, time=cutoff) == 3.0


def test_missing_numbers_weigh_nothing() -> None:
    times = pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"]))
    assert DecayedSum(half_life_days=1)(pd.Series([np.nan, 2.0]), times, time=pd.Timestamp("2026-01-03")) == 1
