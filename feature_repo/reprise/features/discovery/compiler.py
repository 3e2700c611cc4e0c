"""Compiles a feature that Deep Feature Synthesis discovered to accumulators, or refuses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reprise.features.accumulators import MICROSECONDS_PER_DAY, accumulator
from reprise.features.discovery.featuretools_compat import ft
from reprise.features.exceptions import RefusedFeatureError
from reprise.features.feature_functions import Spec
from reprise.features.plan import EntityName

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

_ONE: Spec = {"kind": "value", "field": 0}
_SINCE: Spec = {"kind": "since", "instant": 0}
_BETWEEN: Spec = {"kind": "between", "first": 0, "last": 1, "n": 2}
_DECAYED: Spec = {"kind": "decayed", "value": 0, "reference": 1}
_MEAN: Spec = {"kind": "ratio", "numerator": 1, "denominator": 0}
_TOTAL: Spec = {"kind": "value", "field": 1}

_OVER_EVENTS: Mapping[str, Mapping[str, tuple[tuple[str, ...], Spec]]] = {
    "amount": {
        "sum": (("moments",), _TOTAL),
        "mean": (("moments",), _MEAN),
        "std": (("moments",), {"kind": "std", "n": 0, "m2": 2}),
        "min": (("smallest_amount",), _ONE),
        "max": (("largest_amount",), _ONE),
        "first": (("first_amount",), {"kind": "value", "field": 2}),
        "last": (("last_amount",), {"kind": "value", "field": 2}),
        "decayed_sum": (("decayed_sum",), _DECAYED),
    },
    "timestamp": {
        "time_since_first": (("first_time",), _SINCE),
        "time_since_last": (("last_time",), _SINCE),
        "avg_time_between": (("first_time", "last_time", "count"), _BETWEEN),
        "decayed_count": (("decayed_count",), _DECAYED),
    },
}
"""By column and primitive: the kinds of accumulators, and the feature function. Numbers are positions of its fields
among those of the accumulators."""


@dataclass(frozen=True)
class Compiled:
    """What it takes to accumulate and compute a feature."""

    state: tuple[Spec, ...]  # accumulator specs of the entity
    finish: Spec  # spec of its feature function, see ``feature_functions.evaluate``
    unit: str
    pair_state: tuple[Spec, ...] = ()  # accumulator specs that the pair needs for it
    pair_values: Mapping[str, Spec] = field(default_factory=dict)  # the pair's inner features, by name


def compile_feature(feature: Any, entity: EntityName, frames: Mapping[str, str]) -> Compiled:
    """Compile a discovered feature.

    Raises:
        RefusedFeatureError: No bounded state can keep it, or it is redundant (another entity or the model
            covers it); the message is the reason.
    """
    if isinstance(feature, ft.DirectFeature):
        raise RefusedFeatureError("it belongs to another entity, and is planned there")
    if isinstance(feature, ft.IdentityFeature):
        raise RefusedFeatureError("an id or a time stamp is not a feature")
    if isinstance(feature, ft.TransformFeature):
        raise RefusedFeatureError("a forest finds thresholds of a number automatically")
    if not isinstance(feature, ft.AggregationFeature):
        raise RefusedFeatureError(f"{type(feature).__name__} is not an aggregation")
    if feature.where is not None:
        raise RefusedFeatureError("a where clause hides events; give them an event type of their own")
    if feature.use_previous is not None:
        raise RefusedFeatureError("use_previous drops events by age, and a state cannot retract them")
    if feature.base_features[0].dataframe_name == _PAIRS and entity != "pair":
        return _over_pairs(feature, entity, frames)
    return _over_events(feature, frames)


def _over_events(feature: Any, frames: Mapping[str, str]) -> Compiled:
    primitive = feature.primitive
    if primitive.name in _UNBOUNDED:
        raise RefusedFeatureError(f"{primitive.name} has no bounded state: {_UNBOUNDED[primitive.name]}")
    for base in feature.base_features:
        if not isinstance(base, ft.IdentityFeature):
            raise RefusedFeatureError(
                f"every past event would have to be revisited whenever {base.get_name()} changes"
            )
        if base.dataframe_name not in frames.values():
            raise RefusedFeatureError(f"{base.dataframe_name} is not a dataframe of events")
    frame = feature.base_features[0].dataframe_name
    column = feature.base_features[0].get_name()
    if primitive.name == "count":
        return Compiled(*_keep([{"kind": "count", "frame": frame}], _ONE), "events")
    if column not in _OVER_EVENTS:
        raise RefusedFeatureError(f"{column} is an id, not a quantity")
    if primitive.name not in _OVER_EVENTS[column]:
        what = "a number" if column == "amount" else "a time"
        raise RefusedFeatureError(f"{primitive.name} of {what} has no accumulator")
    kinds, finish = _OVER_EVENTS[column][primitive.name]
    unit = "currency" if column == "amount" else "events"
    of_state: Spec = {}
    of_finish: Spec = {}
    if primitive.name.startswith("decayed"):
        of_state = of_finish = {"half_life_us": round(primitive.half_life_days * MICROSECONDS_PER_DAY)}
    elif column == "timestamp":
        if primitive.unit not in _UNIT_US:
            raise RefusedFeatureError(f"{primitive.unit} have no fixed length; use {', '.join(_UNIT_US)}")
        unit, of_finish = primitive.unit, {"unit_us": _UNIT_US[primitive.unit]}
    specs = [{"kind": kind, "frame": frame, **of_state} for kind in kinds]
    return Compiled(*_keep(specs, finish, of_finish), unit)


def _over_pairs(feature: Any, entity: EntityName, frames: Mapping[str, str]) -> Compiled:
    primitive, base = feature.primitive, feature.base_features[0]
    exists: tuple[Spec, ...] = tuple({"kind": "count", "frame": frame} for frame in frames.values())
    if isinstance(base, ft.IdentityFeature):
        if primitive.name != "count":
            raise RefusedFeatureError(
                f"a late event can move a pair's {base.get_name()} back, and {primitive.name} cannot retract a value"
            )
        unit = "products" if entity == "user" else "users"
        return Compiled(*_keep([{"kind": "pair_count"}], _ONE), unit, exists)
    name, inner, aggregated = _pair_value(base, frames)
    kind, finish = _pair_aggregate(primitive, aggregated)
    unit = {"num_true": "pairs", "percent_true": "share"}.get(primitive.name, inner.unit)
    kept = _keep([{"kind": kind, "inner": name}], finish)
    return Compiled(*kept, unit, (*inner.state, *exists), {name: inner.finish})


def _pair_value(base: Any, frames: Mapping[str, str]) -> tuple[str, Compiled, str]:
    """Return the pair's inner feature: its name, its compilation, and the kind of its primitive."""
    if isinstance(base, ft.TransformFeature):
        if base.primitive.name != "greater_than_scalar":
            raise RefusedFeatureError(f"{base.primitive.name} of a pair's feature has no transition rule")
        name, compiled, kind = _pair_value(base.base_features[0], frames)
        if kind != "count":
            raise RefusedFeatureError(f"a threshold on a pair's {kind} depends on floating-point rounding")
        threshold = base.primitive.value
        finish = {"kind": "above", "of": compiled.finish, "threshold": threshold}
        slug = f"{threshold:g}".replace(".", "_").replace("-", "minus_").replace("+", "")
        return f"{name}_above_{slug}", Compiled(compiled.state, finish, "pairs"), "above"
    if not isinstance(base, ft.AggregationFeature) or base.where is not None or base.use_previous is not None:
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


def _pair_aggregate(primitive: Any, kind: str) -> tuple[str, Spec]:
    """Return the kind of accumulator over pairs, and the feature function of its fields."""
    match primitive.name:
        case "sum" | "num_true":
            return "pair_sum", _TOTAL
        case "mean" | "percent_true":
            return "pair_sum", _MEAN
        case "max" if kind in _NEVER_FALLS:
            return "pair_max", _ONE
        case "max":
            raise RefusedFeatureError(
                f"a pair's {kind} can fall, and a value cannot be retracted from a maximum"
            )
        case name if name in _UNBOUNDED:
            raise RefusedFeatureError(f"{name} has no bounded state: {_UNBOUNDED[name]}")
        case name:
            raise RefusedFeatureError(f"{name} over pairs has no transition rule")


def _keep(
    specs: Sequence[Spec], finish: Spec, parameters: Spec | None = None
) -> tuple[tuple[Spec, ...], Spec]:
    """Return the specs of accumulators, and the feature function with their fields' names in place of positions."""
    fields = [field.name for spec in specs for field in accumulator(spec).fields]
    named = {name: fields[entry] if isinstance(entry, int) else entry for name, entry in finish.items()}
    return tuple(specs), {**named, **(parameters or {})}
