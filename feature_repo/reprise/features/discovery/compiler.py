"""Compiles a feature that Deep Feature Synthesis discovered to accumulators, or refuses it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from featuretools.feature_base import (
    AggregationFeature,
    DirectFeature,
    IdentityFeature,
    TransformFeature,
)

from reprise.features.accumulators import event_accumulators, pair_accumulators
from reprise.features.accumulators.event_accumulators import MICROSECONDS_PER_DAY, Accumulator
from reprise.features.accumulators.pair_accumulators import PairAccumulator
from reprise.features.discovery.featuretools_compat import ft
from reprise.features.exceptions import RefusedFeatureError
from reprise.features.plan import EntityName

Spec = Mapping[str, Any]

_UNIT_US = {
    "seconds": 1_000_000,
    "minutes": 60_000_000,
    "hours": 3_600_000_000,
    "days": MICROSECONDS_PER_DAY,
}
_UNBOUNDED = {
    "median": "the exact median needs every past value",
    "mode": "the most frequent value needs a count of every value ever seen",
    "trend": "the regression needs every past value against the time since the first",
}
_NEVER_FALLS = ("count", "sum", "max")
_PAIRS = "user_products"
_ONE_FIELD = {
    "min": event_accumulators.smallest_amount,
    "max": event_accumulators.largest_amount,
    "first": event_accumulators.first_amount,
    "last": event_accumulators.last_amount,
}


@dataclass(frozen=True)
class _Compiled:
    state: tuple[Spec, ...]
    finish: Spec
    unit: str
    pair_state: tuple[Spec, ...] = ()
    pair_values: Mapping[str, Spec] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CompiledFeature(_Compiled):
    """A feature with everything that is needed to accumulate and compute it.

    Attributes:
        state: Accumulator specs of the entity.
        finish: Spec of its feature function, see ``feature_functions.bind``.
        unit: Its unit, for people.
        pair_state: Accumulator specs that the pair needs for it.
        pair_values: Specs of the pair's inner features that it aggregates, by name.
        entity: Whose feature it is.
        source: The name that Deep Feature Synthesis gave it.
        description: Featuretools' description, in English.
        depth: How deep primitives are stacked in it.
    """

    entity: EntityName
    source: str
    description: str
    depth: int


def compile_feature(feature: Any, entity: EntityName, frames: Mapping[str, str]) -> CompiledFeature:
    """Compile a discovered feature.

    Raises:
        RefusedFeatureError: No bounded state can keep it, or it is redundant (another entity or the model
            covers it); the message is the reason.
    """
    if isinstance(feature, DirectFeature):
        raise RefusedFeatureError("it belongs to another entity, and is planned there")
    if isinstance(feature, IdentityFeature):
        raise RefusedFeatureError("an id or a time stamp is not a feature")
    if isinstance(feature, TransformFeature):
        raise RefusedFeatureError("a forest finds thresholds of a number automatically")
    if not isinstance(feature, AggregationFeature):
        raise RefusedFeatureError(f"{type(feature).__name__} is not an aggregation")
    if feature.where is not None:
        raise RefusedFeatureError("a where clause hides events; give them an event type of their own")
    if feature.use_previous is not None:
        raise RefusedFeatureError("use_previous drops events by age, and a state cannot retract them")
    if feature.base_features[0].dataframe_name == _PAIRS and entity != "pair":
        compiled = _over_pairs(feature, entity, frames)
    else:
        compiled = _over_events(feature, frames)
    return CompiledFeature(
        **vars(compiled),
        entity=entity,
        source=feature.get_name(),
        description=str(ft.describe_feature(feature)),
        depth=feature.get_depth(),
    )


def _over_events(feature: Any, frames: Mapping[str, str]) -> _Compiled:
    primitive = feature.primitive
    if primitive.name in _UNBOUNDED:
        raise RefusedFeatureError(f"{primitive.name} has no bounded state: {_UNBOUNDED[primitive.name]}")
    for base in feature.base_features:
        if not isinstance(base, IdentityFeature):
            raise RefusedFeatureError(
                f"every past event would have to be revisited whenever {base.get_name()} changes"
            )
        if base.dataframe_name not in frames.values():
            raise RefusedFeatureError(f"{base.dataframe_name} is not a dataframe of events")
    frame = feature.base_features[0].dataframe_name
    column = feature.base_features[0].get_name()
    if primitive.name == "count":
        count = event_accumulators.count(frame)
        return _Compiled((count.spec,), _value(*_names(count)), "events")
    if column == "amount":
        return _over_amounts(primitive, frame)
    if column == "timestamp":
        return _over_times(primitive, frame)
    raise RefusedFeatureError(f"{column} is an id, not a quantity")


def _over_amounts(primitive: Any, frame: str) -> _Compiled:
    accumulator = event_accumulators.moments(frame)
    n, total, m2 = _names(accumulator)
    finish: Spec
    match primitive.name:
        case "sum":
            finish = _value(total)
        case "mean":
            finish = _ratio(total, n)
        case "std":
            finish = {"kind": "std", "n": n, "m2": m2}
        case "min" | "max" | "first" | "last":
            accumulator = _ONE_FIELD[primitive.name](frame)
            finish = _value(_names(accumulator)[-1])
        case "decayed_sum":
            return _decayed(event_accumulators.decayed_sum, primitive, frame, "currency")
        case name:
            raise RefusedFeatureError(f"{name} of a number has no accumulator")
    return _Compiled((accumulator.spec,), finish, "currency")


def _over_times(primitive: Any, frame: str) -> _Compiled:
    first, last = event_accumulators.first_time(frame), event_accumulators.last_time(frame)
    match primitive.name:
        case "time_since_first" | "time_since_last":
            end = first if primitive.name == "time_since_first" else last
            since = {"kind": "since", "instant": end.fields[0].name, "unit_us": _unit_us(primitive)}
            return _Compiled((end.spec,), since, primitive.unit)
        case "avg_time_between":
            count = event_accumulators.count(frame)
            between = {
                "kind": "between",
                "first": first.fields[0].name,
                "last": last.fields[0].name,
                "n": count.fields[0].name,
                "unit_us": _unit_us(primitive),
            }
            return _Compiled((first.spec, last.spec, count.spec), between, primitive.unit)
        case "decayed_count":
            return _decayed(event_accumulators.decayed_count, primitive, frame, "events")
        case name:
            raise RefusedFeatureError(f"{name} of a time has no accumulator")


def _decayed(build: Callable[[str, int], Accumulator], primitive: Any, frame: str, unit: str) -> _Compiled:
    half_life_us = round(primitive.half_life_days * MICROSECONDS_PER_DAY)
    accumulator = build(frame, half_life_us)
    value, reference = _names(accumulator)
    finish = {"kind": "decayed", "value": value, "reference": reference, "half_life_us": half_life_us}
    return _Compiled((accumulator.spec,), finish, unit)


def _unit_us(primitive: Any) -> int:
    if primitive.unit not in _UNIT_US:
        raise RefusedFeatureError(f"{primitive.unit} have no fixed length; use {', '.join(_UNIT_US)}")
    return _UNIT_US[primitive.unit]


def _over_pairs(feature: Any, entity: EntityName, frames: Mapping[str, str]) -> _Compiled:
    primitive, base = feature.primitive, feature.base_features[0]
    exists = tuple(event_accumulators.count(frame).spec for frame in frames.values())
    if isinstance(base, IdentityFeature):
        if primitive.name != "count":
            raise RefusedFeatureError(
                f"a late event can move a pair's {base.get_name()} back, and {primitive.name} cannot retract a value"
            )
        count = pair_accumulators.pair_count()
        unit = "products" if entity == "user" else "users"
        return _Compiled((count.spec,), _value(*_names(count)), unit, exists)
    name, inner, aggregated = _pair_value(base, frames)
    accumulator, finish = _pair_aggregate(primitive, name, aggregated)
    unit = {"num_true": "pairs", "percent_true": "share"}.get(primitive.name, inner.unit)
    return _Compiled((accumulator.spec,), finish, unit, (*inner.state, *exists), {name: inner.finish})


def _pair_value(base: Any, frames: Mapping[str, str]) -> tuple[str, _Compiled, str]:
    """Return the pair's inner feature: its name, its compilation, and the kind of its primitive."""
    if isinstance(base, TransformFeature):
        if base.primitive.name != "greater_than_scalar":
            raise RefusedFeatureError(f"{base.primitive.name} of a pair's feature has no transition rule")
        name, compiled, kind = _pair_value(base.base_features[0], frames)
        if kind != "count":
            raise RefusedFeatureError(f"a threshold on a pair's {kind} depends on floating-point rounding")
        threshold = base.primitive.value
        finish = {"kind": "above", "of": compiled.finish, "threshold": threshold}
        return f"{name}_above_{_slug(threshold)}", _Compiled(compiled.state, finish, "pairs"), "above"
    if not isinstance(base, AggregationFeature) or base.where is not None or base.use_previous is not None:
        raise RefusedFeatureError(f"{base.get_name()} is not an aggregation of a pair's own events")
    compiled = _over_events(base, frames)
    kind, frame = base.primitive.name, base.base_features[0].dataframe_name
    match kind:
        case "count" | "sum" | "max":
            return str(compiled.finish["field"]), compiled, kind
        case "avg_time_between":
            return f"{frame}_{base.primitive.unit}_between", compiled, kind
        case "time_since_first" | "time_since_last" | "decayed_count" | "decayed_sum":
            raise RefusedFeatureError(
                f"{kind} of every pair changes with time itself, so no stored sum stays right"
            )
        case _:
            raise RefusedFeatureError(
                f"a pair's {kind} can fall by any factor, and retracting a large value from a sum loses small ones"
                " (catastrophic cancellation)"
            )


def _pair_aggregate(primitive: Any, inner: str, kind: str) -> tuple[PairAccumulator, Spec]:
    sums = pair_accumulators.pair_sum(inner)
    n, total = _names(sums)
    match primitive.name:
        case "sum" | "num_true":
            return sums, _value(total)
        case "mean" | "percent_true":
            return sums, _ratio(total, n)
        case "max" if kind in _NEVER_FALLS:
            largest = pair_accumulators.pair_max(inner)
            return largest, _value(*_names(largest))
        case "max":
            raise RefusedFeatureError(
                f"a pair's {kind} can fall, and a value cannot be retracted from a maximum"
            )
        case name if name in _UNBOUNDED:
            raise RefusedFeatureError(f"{name} has no bounded state: {_UNBOUNDED[name]}")
        case name:
            raise RefusedFeatureError(f"{name} over pairs has no transition rule")


def _value(field: str) -> Spec:
    return {"kind": "value", "field": field}


def _ratio(numerator: str, denominator: str) -> Spec:
    return {"kind": "ratio", "numerator": numerator, "denominator": denominator}


def _names(accumulator: Accumulator | PairAccumulator) -> tuple[str, ...]:
    return tuple(field.name for field in accumulator.fields)


def _slug(number: float) -> str:
    return f"{number:g}".replace(".", "_").replace("-", "minus_").replace("+", "")
