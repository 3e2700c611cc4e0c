"""From a feature that Deep Feature Synthesis discovered to the state that a stream keeps for it, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featuretools.feature_base import (
    AggregationFeature,
    DirectFeature,
    IdentityFeature,
    TransformFeature,
)

from reprise.features.accumulators.event_accumulators import MICROSECONDS_PER_DAY
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


@dataclass(frozen=True)
class CompiledFeature:
    """A feature with everything that is needed to keep and finish it.

    Attributes:
        entity: Whose feature it is.
        source: The name that Deep Feature Synthesis gave it.
        description: What it says, in English, from Featuretools.
        unit: Its unit, for people.
        state: Accumulator specs of the entity.
        pair_state: Accumulator specs that the pair must keep for it.
        pair_values: The pair's inner finishes that it aggregates, by name.
        finish: Its finish, see ``finishes.bind``.
        depth: How deep primitives are stacked in it.
    """

    entity: EntityName
    source: str
    description: str
    unit: str
    state: tuple[Spec, ...]
    pair_state: tuple[Spec, ...]
    pair_values: Mapping[str, Spec]
    finish: Spec
    depth: int


@dataclass(frozen=True)
class _Kept:
    state: tuple[Spec, ...]
    finish: Spec
    unit: str


def compile_feature(feature: Any, entity: EntityName, frames: Mapping[str, str]) -> CompiledFeature:
    """Compile a discovered feature.

    Raises:
        RefusedFeatureError: No bounded state can keep it, or it says nothing of its own; the message is the reason.
    """
    if isinstance(feature, DirectFeature):
        raise RefusedFeatureError("it belongs to another entity, and is planned there")
    if isinstance(feature, IdentityFeature):
        raise RefusedFeatureError("an id or a time stamp is not a feature")
    if isinstance(feature, TransformFeature):
        raise RefusedFeatureError("a forest finds thresholds of a number by itself")
    if not isinstance(feature, AggregationFeature):
        raise RefusedFeatureError(f"{type(feature).__name__} is not an aggregation")
    if feature.where is not None:
        raise RefusedFeatureError("a where clause hides events; give them an event type of their own")
    if feature.use_previous is not None:
        raise RefusedFeatureError("use_previous forgets events by time, and a state cannot take them back")
    base = feature.base_features[0]
    if base.dataframe_name == _PAIRS and entity != "pair":
        return _over_pairs(feature, entity, frames)
    kept = _over_events(feature, frames)
    return CompiledFeature(
        entity=entity,
        source=feature.get_name(),
        description=_describe(feature),
        unit=kept.unit,
        state=kept.state,
        pair_state=(),
        pair_values={},
        finish=kept.finish,
        depth=feature.get_depth(),
    )


def _over_events(feature: Any, frames: Mapping[str, str]) -> _Kept:
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
        return _counted(frame)
    if column == "amount":
        return _of_amount(primitive, frame)
    if column == "timestamp":
        return _of_time(primitive, frame)
    raise RefusedFeatureError(f"{column} is an id, not a quantity")


def _counted(frame: str) -> _Kept:
    return _Kept(
        state=({"kind": "count", "frame": frame},),
        finish={"kind": "value", "field": f"{frame}_count"},
        unit="events",
    )


def _of_amount(primitive: Any, frame: str) -> _Kept:
    amount = f"{frame}_amount"
    moments: Spec = {"kind": "moments", "frame": frame}
    match primitive.name:
        case "sum":
            kept, finish = moments, {"kind": "value", "field": f"{amount}_sum"}
        case "mean":
            kept, finish = (
                moments,
                {"kind": "ratio", "numerator": f"{amount}_sum", "denominator": f"{amount}_n"},
            )
        case "std":
            kept, finish = moments, {"kind": "std", "n": f"{amount}_n", "m2": f"{amount}_m2"}
        case "min":
            kept, finish = _single("smallest_amount", frame, f"{amount}_min")
        case "max":
            kept, finish = _single("largest_amount", frame, f"{amount}_max")
        case "first":
            kept, finish = _single("first_amount", frame, f"{frame}_first_amount")
        case "last":
            kept, finish = _single("last_amount", frame, f"{frame}_last_amount")
        case "decayed_sum":
            kept, finish = _decayed("decayed_sum", primitive, frame)
        case name:
            raise RefusedFeatureError(f"{name} of a number has no accumulator")
    return _Kept((kept,), finish, "currency")


def _of_time(primitive: Any, frame: str) -> _Kept:
    first: Spec = {"kind": "first_time", "frame": frame}
    last: Spec = {"kind": "last_time", "frame": frame}
    match primitive.name:
        case "time_since_first":
            finish = {"kind": "since", "instant": f"{frame}_first_us", "unit_us": _unit_us(primitive)}
            return _Kept((first,), finish, primitive.unit)
        case "time_since_last":
            finish = {"kind": "since", "instant": f"{frame}_last_us", "unit_us": _unit_us(primitive)}
            return _Kept((last,), finish, primitive.unit)
        case "avg_time_between":
            finish = {
                "kind": "between",
                "first": f"{frame}_first_us",
                "last": f"{frame}_last_us",
                "n": f"{frame}_count",
                "unit_us": _unit_us(primitive),
            }
            return _Kept((first, last, {"kind": "count", "frame": frame}), finish, primitive.unit)
        case "decayed_count":
            kept, finish = _decayed("decayed_count", primitive, frame)
            return _Kept((kept,), finish, "events")
        case name:
            raise RefusedFeatureError(f"{name} of a time has no accumulator")


def _single(kind: str, frame: str, field: str) -> tuple[Spec, dict[str, Any]]:
    return {"kind": kind, "frame": frame}, {"kind": "value", "field": field}


def _decayed(kind: str, primitive: Any, frame: str) -> tuple[Spec, dict[str, Any]]:
    half_life_us = round(primitive.half_life_days * MICROSECONDS_PER_DAY)
    spec = {"kind": kind, "frame": frame, "half_life_us": half_life_us}
    days, rest = divmod(half_life_us, MICROSECONDS_PER_DAY)
    name = f"{frame}_{kind}_{days}d" + (f"{rest}us" if rest else "")
    return spec, {"kind": "decayed", "value": name, "reference": f"{name}_us", "half_life_us": half_life_us}


def _unit_us(primitive: Any) -> int:
    if primitive.unit not in _UNIT_US:
        raise RefusedFeatureError(f"{primitive.unit} have no fixed length; use {', '.join(_UNIT_US)}")
    return _UNIT_US[primitive.unit]


def _over_pairs(feature: Any, entity: EntityName, frames: Mapping[str, str]) -> CompiledFeature:
    primitive, base = feature.primitive, feature.base_features[0]
    exists = tuple({"kind": "count", "frame": frame} for frame in frames.values())
    if isinstance(base, IdentityFeature):
        if primitive.name != "count":
            raise RefusedFeatureError(
                f"a late event can move a pair's {base.get_name()} back, and {primitive.name} cannot take a value back"
            )
        return _pairs_feature(
            feature,
            entity,
            ({"kind": "pair_count"},),
            exists,
            {},
            {"kind": "value", "field": "pairs_count"},
            "products" if entity == "user" else "users",
        )
    name, inner, aggregated = _pair_value(base, frames)
    state, finish = _pair_aggregate(primitive, name, aggregated)
    unit = {"num_true": "pairs", "percent_true": "share"}.get(primitive.name, inner.unit)
    return _pairs_feature(
        feature, entity, (state,), (*inner.state, *exists), {name: inner.finish}, finish, unit
    )


def _pairs_feature(
    feature: Any,
    entity: EntityName,
    state: tuple[Spec, ...],
    pair_state: tuple[Spec, ...],
    pair_values: Mapping[str, Spec],
    finish: Spec,
    unit: str,
) -> CompiledFeature:
    return CompiledFeature(
        entity=entity,
        source=feature.get_name(),
        description=_describe(feature),
        unit=unit,
        state=state,
        pair_state=pair_state,
        pair_values=pair_values,
        finish=finish,
        depth=feature.get_depth(),
    )


def _pair_value(base: Any, frames: Mapping[str, str]) -> tuple[str, _Kept, str]:
    """Return the pair's inner feature: its name, what keeps it, and the kind of its primitive."""
    if isinstance(base, TransformFeature):
        if base.primitive.name != "greater_than_scalar":
            raise RefusedFeatureError(f"{base.primitive.name} of a pair's feature has no transition rule")
        name, kept, kind = _pair_value(base.base_features[0], frames)
        if kind != "count":
            raise RefusedFeatureError(
                f"a threshold on a pair's {kind} could turn on the rounding of that {kind}"
            )
        threshold = base.primitive.value
        finish = {"kind": "above", "of": kept.finish, "threshold": threshold}
        return f"{name}_above_{_slug(threshold)}", _Kept(kept.state, finish, "pairs"), "above"
    if not isinstance(base, AggregationFeature) or base.where is not None or base.use_previous is not None:
        raise RefusedFeatureError(f"{base.get_name()} is not an aggregation of a pair's own events")
    kept = _over_events(base, frames)
    kind, frame = base.primitive.name, base.base_features[0].dataframe_name
    match kind:
        case "count" | "sum" | "max":
            return str(kept.finish["field"]), kept, kind
        case "avg_time_between":
            return f"{frame}_{base.primitive.unit}_between", kept, kind
        case "time_since_first" | "time_since_last" | "decayed_count" | "decayed_sum":
            raise RefusedFeatureError(
                f"{kind} of every pair changes with time itself, so no stored sum stays right"
            )
        case _:
            raise RefusedFeatureError(
                f"a pair's {kind} can fall by any factor, and taking large values back from a sum loses small ones"
            )


def _pair_aggregate(primitive: Any, inner: str, kind: str) -> tuple[Spec, Spec]:
    pair_sum = {"kind": "pair_sum", "inner": inner}
    total, n = f"pairs_{inner}_sum", f"pairs_{inner}_n"
    match primitive.name:
        case "sum" | "num_true":
            return pair_sum, {"kind": "value", "field": total}
        case "mean" | "percent_true":
            return pair_sum, {"kind": "ratio", "numerator": total, "denominator": n}
        case "max" if kind in _NEVER_FALLS:
            return {"kind": "pair_max", "inner": inner}, {"kind": "value", "field": f"pairs_{inner}_max"}
        case "max":
            raise RefusedFeatureError(f"a pair's {kind} can fall, and a maximum cannot take a value back")
        case name if name in _UNBOUNDED:
            raise RefusedFeatureError(f"{name} has no bounded state: {_UNBOUNDED[name]}")
        case name:
            raise RefusedFeatureError(f"{name} over pairs has no transition rule")


def _slug(number: float) -> str:
    return f"{number:g}".replace(".", "_").replace("-", "minus_").replace("+", "")


def _describe(feature: Any) -> str:
    return str(ft.describe_feature(feature))
