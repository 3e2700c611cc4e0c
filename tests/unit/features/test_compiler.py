"""What the compiler accepts of what Deep Feature Synthesis finds, and what it says of the rest."""

from collections import Counter

import pytest
from featuretools.primitives import (
    Count,
    DecayedCount,
    First,
    Last,
    Max,
    Mean,
    Min,
    Mode,
    Skew,
    Sum,
    TimeSinceLast,
    Variance,
)

from reprise.features.discovery.candidates import Discovery, discover
from reprise.features.discovery.compiler import CompiledFeature, compile_feature
from reprise.features.discovery.entity_set import PAIR_ID, entity_set
from reprise.features.discovery.featuretools_compat import ft
from reprise.features.exceptions import RefusedFeatureError
from reprise.features.plan import EntityName
from support.discovered import definition, discovery
from support.hard_histories import event_frame, random_history

FRAMES = {"view": "views", "purchase": "purchases"}


def accepted(entity: EntityName, source: str) -> CompiledFeature:
    [found] = [
        c.compiled
        for c in discovery().candidates
        if (c.compiled.entity, c.compiled.source) == (entity, source)
    ]
    return found


def refusal(entity: EntityName, source: str) -> str:
    [found] = [r.reason for r in discovery().refusals if (r.entity, r.source) == (entity, source)]
    return found


ACCEPTED: list[tuple[EntityName, str, str, str]] = [
    ("user", "COUNT(views)", "count views", "value"),
    ("user", "SUM(purchases.amount)", "moments purchases", "value"),
    ("user", "MEAN(purchases.amount)", "moments purchases", "ratio"),
    ("product", "STD(purchases.amount)", "moments purchases", "std"),
    ("pair", "MIN(purchases.amount)", "smallest_amount purchases", "value"),
    ("pair", "MAX(purchases.amount)", "largest_amount purchases", "value"),
    ("pair", "FIRST(purchases.amount)", "first_amount purchases", "value"),
    ("pair", "LAST(purchases.amount)", "last_amount purchases", "value"),
    ("user", "TIME_SINCE_FIRST(views.timestamp, unit=days)", "first_time views", "since"),
    ("user", "TIME_SINCE_LAST(views.timestamp, unit=days)", "last_time views", "since"),
    (
        "pair",
        "AVG_TIME_BETWEEN(purchases.timestamp, unit=days)",
        "first_time purchases, last_time purchases, count purchases",
        "between",
    ),
    ("product", "DECAYED_COUNT(views.timestamp)", "decayed_count views 604800000000", "decayed"),
    (
        "product",
        "DECAYED_SUM(purchases.amount, timestamp, half_life_days=30)",
        "decayed_sum purchases 2592000000000",
        "decayed",
    ),
    ("user", "COUNT(user_products)", "pair_count", "value"),
    ("user", "NUM_TRUE(user_products.COUNT(purchases) > 1)", "pair_sum purchases_count_above_1", "value"),
    ("user", "PERCENT_TRUE(user_products.COUNT(views) > 0)", "pair_sum views_count_above_0", "ratio"),
    (
        "product",
        "MEAN(user_products.AVG_TIME_BETWEEN(purchases.timestamp, unit=days))",
        "pair_sum purchases_days_between",
        "ratio",
    ),
    ("product", "MAX(user_products.SUM(purchases.amount))", "pair_max purchases_amount_sum", "value"),
    ("user", "SUM(user_products.MAX(purchases.amount))", "pair_sum purchases_amount_max", "value"),
]


@pytest.mark.parametrize(("entity", "source", "state", "finish"), ACCEPTED, ids=[a[1] for a in ACCEPTED])
def test_a_feature_compiles_to_the_state_that_it_needs(
    entity: EntityName, source: str, state: str, finish: str
) -> None:
    compiled = accepted(entity, source)
    assert ", ".join(" ".join(map(str, spec.values())) for spec in compiled.state) == state
    assert compiled.finish["kind"] == finish
    assert compiled.description
    assert compiled.unit


def test_what_aggregates_pairs_has_the_pair_keep_its_inner_value() -> None:
    compiled = accepted("product", "MEAN(user_products.AVG_TIME_BETWEEN(purchases.timestamp, unit=days))")
    assert list(compiled.pair_values) == ["purchases_days_between"]
    kinds = Counter((spec["kind"], spec["frame"]) for spec in compiled.pair_state)
    assert set(kinds) == {
        ("first_time", "purchases"),
        ("last_time", "purchases"),
        ("count", "purchases"),
        ("count", "views"),
    }


REFUSED: list[tuple[EntityName, str, str]] = [
    (
        "user",
        "MEDIAN(purchases.amount)",
        "median has no bounded state: the exact median needs every past value",
    ),
    ("user", "TREND(purchases.amount, timestamp)", "trend has no bounded state: the regression needs every"),
    ("user", "MEDIAN(user_products.COUNT(purchases))", "median has no bounded state"),
    ("user", "TREND(user_products.COUNT(purchases), first_seen)", "trend has no bounded state"),
    ("user", "COUNT(purchases) > 1", "a forest finds thresholds of a number automatically"),
    ("user", "LAST(purchases.event_key)", "event_key is an id, not a quantity"),
    ("user", "MEAN(user_products.LAST(purchases.event_key))", "event_key is an id, not a quantity"),
    (
        "user",
        "TIME_SINCE_LAST(user_products.first_seen, unit=days)",
        "a late event can move a pair's first_seen",
    ),
    ("user", "MAX(user_products.AVG_TIME_BETWEEN(views.timestamp, unit=days))", "avg_time_between can fall"),
    ("user", "MIN(user_products.COUNT(purchases))", "min over pairs has no transition rule"),
    ("user", "STD(user_products.COUNT(purchases))", "std over pairs has no transition rule"),
    ("user", "LAST(user_products.COUNT(purchases))", "last over pairs has no transition rule"),
    ("user", "MEAN(user_products.MEAN(purchases.amount))", "a pair's mean can fall by any factor"),
    ("user", "MEAN(user_products.MIN(purchases.amount))", "a pair's min can fall by any factor"),
    ("user", "MEAN(user_products.LAST(purchases.amount))", "a pair's last can fall by any factor"),
    (
        "user",
        "MEAN(user_products.DECAYED_COUNT(views.timestamp))",
        "decayed_count of every pair changes with time itself",
    ),
    (
        "product",
        "MEAN(user_products.TIME_SINCE_LAST(purchases.timestamp, unit=days))",
        "time_since_last of every pair changes with time itself",
    ),
    (
        "user",
        "NUM_TRUE(user_products.SUM(purchases.amount) > 1)",
        "a threshold on a pair's sum depends on floating-point rounding",
    ),
    (
        "user",
        "MAX(user_products.products.COUNT(purchases))",
        "products.COUNT(purchases) is not an aggregation of a pair's own events",
    ),
    (
        "user",
        "NUM_TRUE(purchases.amount > 1)",
        "every past event would have to be revisited whenever amount > 1 changes",
    ),
]


@pytest.mark.parametrize(("entity", "source", "reason"), REFUSED, ids=[r[1] for r in REFUSED])
def test_a_feature_is_refused_with_its_reason(entity: EntityName, source: str, reason: str) -> None:
    assert reason in refusal(entity, source)


def shop() -> ft.EntitySet:
    return entity_set(event_frame(random_history(1, 40)), FRAMES)


def refused_reason(feature: object, entity: EntityName = "user") -> str:
    with pytest.raises(RefusedFeatureError) as refused:
        compile_feature(feature, entity, FRAMES)
    return str(refused.value)


def test_a_feature_of_another_entity_is_refused() -> None:
    es = shop()
    of_user = ft.AggregationFeature(ft.Feature(es["purchases"].ww["amount"]), "users", Sum)
    assert "belongs to another entity" in refused_reason(ft.DirectFeature(of_user, "user_products"), "pair")


@pytest.mark.parametrize("column", ["user_id", "first_seen"])
def test_ids_and_time_stamps_are_refused(column: str) -> None:
    assert refused_reason(ft.Feature(shop()["users"].ww[column])) == "an id or a time stamp is not a feature"


def test_a_where_clause_is_refused() -> None:
    es = shop()
    amount = ft.Feature(es["purchases"].ww["amount"])
    feature = ft.AggregationFeature(amount, "users", Sum, where=amount > 5)
    assert "a where clause hides events" in refused_reason(feature)


def test_an_inner_where_clause_is_refused() -> None:
    es = shop()
    amount = ft.Feature(es["purchases"].ww["amount"])
    inner = ft.AggregationFeature(amount, "user_products", Sum, where=amount > 5)
    reason = refused_reason(ft.AggregationFeature(inner, "users", Mean))
    assert reason.endswith("is not an aggregation of a pair's own events")


def test_an_outer_where_clause_over_pairs_is_refused() -> None:
    es = shop()
    inner = ft.AggregationFeature(ft.Feature(es["purchases"].ww["event_key"]), "user_products", Count)
    feature = ft.AggregationFeature(inner, "users", Sum, where=inner > 1)
    assert "a where clause hides events" in refused_reason(feature)


def test_a_window_of_the_last_days_is_refused() -> None:
    amount = ft.Feature(shop()["purchases"].ww["amount"])
    month = ft.Timedelta(30, "d")
    of_user = ft.AggregationFeature(amount, "users", Sum, use_previous=month)
    of_pair = ft.AggregationFeature(amount, "user_products", Sum, use_previous=month)
    assert "use_previous drops events by age" in refused_reason(of_user)
    assert refused_reason(ft.AggregationFeature(of_pair, "users", Mean)).endswith("of a pair's own events")


def test_mode_is_refused() -> None:
    es = shop()
    es["purchases"].ww.set_types(logical_types={PAIR_ID: "Categorical"})
    feature = ft.AggregationFeature(ft.Feature(es["purchases"].ww[PAIR_ID]), "users", Mode)
    assert "mode has no bounded state" in refused_reason(feature)


@pytest.mark.parametrize("primitive", [Skew(), Variance()])
def test_a_primitive_without_accumulator_is_refused_by_its_name(primitive: object) -> None:
    feature = ft.AggregationFeature(ft.Feature(shop()["purchases"].ww["amount"]), "users", primitive)
    assert primitive.name in refused_reason(feature)  # type: ignore[attr-defined]


def test_a_unit_without_fixed_length_is_refused() -> None:
    timestamp = ft.Feature(shop()["views"].ww["timestamp"])
    feature = ft.AggregationFeature(timestamp, "users", TimeSinceLast(unit="months"))
    assert refused_reason(feature) == "months have no fixed length; use seconds, minutes, hours, days"


@pytest.mark.parametrize("primitive", [First(), Last(), Min(), Max()])
def test_what_is_taken_of_an_amount_keeps_one_number_and_not_all_moments(primitive: object) -> None:
    feature = ft.AggregationFeature(ft.Feature(shop()["purchases"].ww["amount"]), "users", primitive)
    [spec] = compile_feature(feature, "user", FRAMES).state
    assert spec["kind"] != "moments"


def test_a_half_life_of_parts_of_a_day_is_kept_apart_from_whole_days() -> None:
    timestamp = ft.Feature(shop()["views"].ww["timestamp"])
    fields = set()
    for half_life_days in (1, 1.5, 1.25):
        feature = ft.AggregationFeature(timestamp, "users", DecayedCount(half_life_days=half_life_days))
        fields.add(compile_feature(feature, "user", FRAMES).finish["value"])
    assert len(fields) == 3


def test_everything_discovered_is_either_accepted_or_refused_with_a_reason() -> None:
    found = discovery()
    assert all(len(r.reason) > 10 for r in found.refusals)
    sources = [(c.compiled.entity, c.compiled.source) for c in found.candidates]
    sources += [(r.entity, r.source) for r in found.refusals]
    assert len(sources) == len(set(sources))


def test_a_primitive_that_finds_no_column_is_named_as_unused() -> None:
    assert discovery().unused == {"user": (), "product": (), "pair": ("num_true", "percent_true")}


def test_discovery_is_the_same_every_time() -> None:
    def shown(found: Discovery) -> list[object]:
        return [*((c.name, c.named, c.compiled) for c in found.candidates), *found.refusals]

    assert shown(discover(definition())) == shown(discovery())
