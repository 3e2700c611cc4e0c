"""What the compiler accepts of what Deep Feature Synthesis finds, and what it says of the rest."""

from functools import cache

import pytest
from featuretools.primitives import (
    Count,
    DecayedCount,
    Mean,
    Mode,
    Skew,
    Sum,
    TimeSinceLast,
    Variance,
)

from reprise.features.discovery.candidates import discover
from reprise.features.discovery.compiler import Compiled, compile_feature
from reprise.features.discovery.entity_set import PAIR_ID, entity_set
from reprise.features.discovery.featuretools_compat import ft
from reprise.features.exceptions import RefusedFeatureError
from reprise.features.plan import EntityName
from support.discovered import definition, discovery
from support.hard_histories import event_frame, random_history

FRAMES = {"view": "views", "purchase": "purchases"}


def accepted(entity: EntityName, source: str) -> Compiled:
    [found] = [c.compiled for c in discovery().candidates if (c.entity, c.source) == (entity, source)]
    return found


def refusal(entity: EntityName, source: str) -> str:
    [found] = [r.reason for r in discovery().refusals if (r.entity, r.source) == (entity, source)]
    return found


DAY_US = 86_400_000_000
DECAYED_SUM = "DECAYED_SUM(purchases.amount, timestamp, half_life_days=30)"
BETWEEN = "AVG_TIME_BETWEEN(purchases.timestamp, unit=days)"
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
    ("pair", BETWEEN, "first_time purchases, last_time purchases, count purchases", "between"),
    ("product", "DECAYED_COUNT(views.timestamp)", f"decayed_count views {7 * DAY_US}", "decayed"),
    ("product", DECAYED_SUM, f"decayed_sum purchases {30 * DAY_US}", "decayed"),
    ("user", "COUNT(user_products)", "pair_count", "value"),
    ("user", "NUM_TRUE(user_products.COUNT(purchases) > 1)", "pair_sum purchases_count_above_1", "value"),
    ("user", "PERCENT_TRUE(user_products.COUNT(views) > 0)", "pair_sum views_count_above_0", "ratio"),
    ("product", f"MEAN(user_products.{BETWEEN})", "pair_sum purchases_days_between", "ratio"),
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
    assert compiled.unit


SINCE = "TIME_SINCE_LAST(purchases.timestamp, unit=days)"
REFUSED: list[tuple[EntityName, str, str]] = [
    ("user", "MEDIAN(purchases.amount)", "median has no bounded state: the exact median needs every"),
    ("user", "TREND(purchases.amount, timestamp)", "trend has no bounded state: the regression needs"),
    ("user", "MEDIAN(user_products.COUNT(purchases))", "median has no bounded state"),
    ("user", "TREND(user_products.COUNT(purchases), first_seen)", "trend has no bounded state"),
    ("user", "COUNT(purchases) > 1", "a forest finds thresholds of a number automatically"),
    ("user", "LAST(purchases.event_key)", "event_key is an id, not a quantity"),
    ("user", "MEAN(user_products.LAST(purchases.event_key))", "event_key is an id, not a quantity"),
    ("user", "TIME_SINCE_LAST(user_products.first_seen, unit=days)", "a late event can move a pair's first"),
    ("user", f"MAX(user_products.{BETWEEN})", "avg_time_between can fall"),
    ("user", "MIN(user_products.COUNT(purchases))", "min over pairs has no transition rule"),
    ("user", "STD(user_products.COUNT(purchases))", "std over pairs has no transition rule"),
    ("user", "LAST(user_products.COUNT(purchases))", "last over pairs has no transition rule"),
    ("user", "MEAN(user_products.MEAN(purchases.amount))", "a pair's mean can fall by any factor"),
    ("user", "MEAN(user_products.MIN(purchases.amount))", "a pair's min can fall by any factor"),
    ("user", "MEAN(user_products.LAST(purchases.amount))", "a pair's last can fall by any factor"),
    ("user", "MEAN(user_products.DECAYED_COUNT(views.timestamp))", "changes with time itself"),
    ("product", f"MEAN(user_products.{SINCE})", "time_since_last of every pair changes with time itself"),
    ("user", "NUM_TRUE(user_products.SUM(purchases.amount) > 1)", "a pair's sum depends on floating-point"),
    ("user", "MAX(user_products.products.COUNT(purchases))", "is not an aggregation of a pair's own events"),
    ("user", "NUM_TRUE(purchases.amount > 1)", "would have to be revisited whenever amount > 1 changes"),
]


@pytest.mark.parametrize(("entity", "source", "reason"), REFUSED, ids=[r[1] for r in REFUSED])
def test_a_feature_is_refused_with_its_reason(entity: EntityName, source: str, reason: str) -> None:
    assert reason in refusal(entity, source)


@cache
def shop() -> ft.EntitySet:
    es = entity_set(event_frame(random_history(1, 40)), FRAMES)
    es["purchases"].ww.set_types(logical_types={PAIR_ID: "Categorical"})
    return es


def column(frame: str, name: str) -> ft.Feature:
    return ft.Feature(shop()[frame].ww[name])


def aggregated(base: ft.Feature, primitive: object, of: str = "users", **options: object) -> ft.Feature:
    return ft.AggregationFeature(base, of, primitive, **options)


def built() -> list[tuple[ft.Feature, str]]:
    amount, key = column("purchases", "amount"), column("purchases", "event_key")
    month = ft.Timedelta(30, "d")
    of_pairs = aggregated(key, Count, "user_products")
    of_pairs_where = aggregated(amount, Sum, "user_products", where=amount > 5)
    of_pairs_lately = aggregated(amount, Sum, "user_products", use_previous=month)
    months = aggregated(column("views", "timestamp"), TimeSinceLast(unit="months"))
    return [
        (column("users", "user_id"), "an id or a time stamp is not a feature"),
        (column("users", "first_seen"), "an id or a time stamp is not a feature"),
        (aggregated(amount, Sum, where=amount > 5), "a where clause hides events"),
        (aggregated(of_pairs_where, Mean), "an aggregation of a pair's own events"),
        (aggregated(of_pairs, Sum, where=of_pairs > 1), "a where clause hides"),
        (aggregated(amount, Sum, use_previous=month), "use_previous drops events by age"),
        (aggregated(of_pairs_lately, Mean), "an aggregation of a pair's own events"),
        (aggregated(amount, Skew), "skew of a number has no accumulator"),
        (aggregated(amount, Variance), "variance of a number has no accumulator"),
        (months, "months have no fixed length; use seconds, minutes, hours, days"),
        (ft.DirectFeature(aggregated(amount, Sum), "user_products"), "belongs to another entity"),
        (aggregated(column("purchases", PAIR_ID), Mode), "mode has no bounded state"),
    ]


def test_a_feature_that_somebody_builds_is_refused_with_its_reason() -> None:
    for feature, reason in built():
        with pytest.raises(RefusedFeatureError, match=reason):
            compile_feature(feature, "user", FRAMES)


def test_a_half_life_of_parts_of_a_day_is_kept_apart_from_whole_days() -> None:
    counts = [DecayedCount(half_life_days=days) for days in (1, 1.5, 1.25)]
    features = [aggregated(column("views", "timestamp"), count) for count in counts]
    assert len({compile_feature(each, "user", FRAMES).finish["value"] for each in features}) == 3


def test_everything_discovered_is_accepted_or_refused_with_a_reason_and_the_same_every_time() -> None:
    found, again = discovery(), discover(definition())
    assert all(len(r.reason) > 10 for r in found.refusals)
    sources = [(c.entity, c.source) for c in found.candidates]
    sources += [(r.entity, r.source) for r in found.refusals]
    assert len(sources) == len(set(sources))
    assert again.refusals == found.refusals
    assert [(c.name, c.named, c.compiled) for c in again.candidates] == [
        (c.name, c.named, c.compiled) for c in found.candidates
    ]


def test_a_primitive_that_finds_no_column_is_named_as_unused() -> None:
    assert discovery().unused == {"user": (), "product": (), "pair": ("num_true", "percent_true")}
