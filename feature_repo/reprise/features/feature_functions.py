"""Feature functions: the value of a feature at an instant, given the state.

Each is written once, over a few operations that exist for single numbers (the fold), for arrays of rows (batch,
training) and for generated code (the predictor). NaN is a missing value.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.features.exceptions import PlanError

Row = Sequence[Any]
"""The state's fields in view order: numbers, or arrays with one number per row."""
FeatureFunction = Callable[[Row, Any], Any]
"""From a state and an instant (microseconds) to the feature's value."""
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations that feature functions are made of, besides arithmetic; all of them propagate NaN.

    Attributes:
        ratio: Numerator over denominator; NaN unless the denominator is positive.
        sqrt: Square root of a non-negative number.
        exp2: Two to the power of a number.
        at_least_zero: The number, or zero if it is negative.
        if_missing: The number, or a default if it is NaN.
        above: 1.0 if the number is greater than a threshold, else 0.0; 0.0 for NaN.
    """

    ratio: Callable[[Any, Any], Any]
    sqrt: Callable[[Any], Any]
    exp2: Callable[[Any], Any]
    at_least_zero: Callable[[Any], Any]
    if_missing: Callable[[Any, float], Any]
    above: Callable[[Any, float], Any]


def _array_ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out


NUMBERS = Operations(
    ratio=lambda numerator, denominator: numerator / denominator if denominator > 0 else math.nan,
    sqrt=math.sqrt,
    exp2=math.exp2,
    at_least_zero=lambda value: 0.0 if value < 0 else value,
    if_missing=lambda value, default: default if value != value else value,  # noqa: PLR0124 (fastest NaN test)
    above=lambda value, threshold: 1.0 if value > threshold else 0.0,
)
ARRAYS = Operations(
    ratio=_array_ratio,
    sqrt=np.sqrt,
    exp2=np.exp2,
    at_least_zero=lambda value: np.maximum(value, 0.0),
    if_missing=lambda value, default: np.where(np.isnan(value), default, value),
    above=lambda value, threshold: (value > threshold).astype(np.float64),
)


def bind(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> FeatureFunction:
    """Return the feature function of a plan's ``spec``, over rows whose field ``f`` is at ``index[f]``.

    Raises:
        PlanError: The kind is unknown, or a parameter or field is missing.
    """
    builder = _BUILDERS.get(spec.get("kind", ""))
    if builder is None:
        raise PlanError(f"unknown finish kind {spec.get('kind')!r}; known are {', '.join(_BUILDERS)}")
    try:
        return builder(spec, index, ops)
    except KeyError as error:
        raise PlanError(
            f"finish {dict(spec)}: {error} is neither a parameter nor a field of the state"
        ) from None


def _value(spec: Mapping[str, Any], index: Mapping[str, int], _: Operations) -> FeatureFunction:
    at = index[spec["field"]]
    return lambda row, _t: row[at]


def _ratio(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> FeatureFunction:
    numerator, denominator, ratio = index[spec["numerator"]], index[spec["denominator"]], ops.ratio
    return lambda row, _t: ratio(row[numerator], row[denominator])


def _std(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> FeatureFunction:
    """Sample standard deviation, ddof = 1, as pandas and so Featuretools have it."""
    n, m2, ratio, sqrt = index[spec["n"]], index[spec["m2"]], ops.ratio, ops.sqrt
    return lambda row, _t: sqrt(ratio(row[m2], row[n] - 1))


def _since(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> FeatureFunction:
    """Time since an instant; zero for a request from before it."""
    at, unit, at_least_zero = index[spec["instant"]], spec["unit_us"], ops.at_least_zero
    return lambda row, t: at_least_zero((t - row[at]) / unit)


def _between(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> FeatureFunction:
    """Average time between consecutive events: from first to last, divided by their number less one."""
    first, last, n = index[spec["first"]], index[spec["last"]], index[spec["n"]]
    unit, ratio = spec["unit_us"], ops.ratio
    return lambda row, _t: ratio((row[last] - row[first]) / unit, row[n] - 1)


def _decayed(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> FeatureFunction:
    """Value × 2^(−elapsed ÷ half-life); zero when there was no event."""
    value, reference, half_life = index[spec["value"]], index[spec["reference"]], spec["half_life_us"]
    exp2, if_missing, at_least_zero = ops.exp2, ops.if_missing, ops.at_least_zero
    return lambda row, t: if_missing(row[value] * exp2(-at_least_zero((t - row[reference]) / half_life)), 0.0)


def _above(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> FeatureFunction:
    inner, threshold, above = bind(spec["of"], index, ops), spec["threshold"], ops.above
    return lambda row, t: above(inner(row, t), threshold)


_BUILDERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, int], Operations], FeatureFunction]] = {
    "value": _value,
    "ratio": _ratio,
    "std": _std,
    "since": _since,
    "between": _between,
    "decayed": _decayed,
    "above": _above,
}


def feature_sql(spec: Mapping[str, Any], column: Callable[[str], str]) -> str:
    """Return the SQL of a feature function that does not depend on the instant, over the columns of its fields.

    Raises:
        PlanError: The feature depends on the instant, or has no SQL.
    """
    match spec["kind"]:
        case "value":
            return f"{column(spec['field'])}::DOUBLE"
        case "between":
            first, last, n = column(spec["first"]), column(spec["last"]), column(spec["n"])
            return f"CASE WHEN {n} > 1 THEN ({last} - {first})::DOUBLE / {float(spec['unit_us'])!r} / ({n} - 1) END"
        case "above":
            inner = feature_sql(spec["of"], column)
            return f"CASE WHEN {inner} > {float(spec['threshold'])!r} THEN 1.0::DOUBLE ELSE 0.0::DOUBLE END"
        case kind:
            raise PlanError(f"a pair's {kind} cannot be aggregated over pairs")
