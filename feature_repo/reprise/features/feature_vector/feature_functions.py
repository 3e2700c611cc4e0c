"""Finishing: what a feature is worth at an instant, given the state.

Each finish is written once, over a handful of operations that exist for single numbers (the predictor's
hot path) and for arrays of rows (batch, training). NaN is a missing value everywhere here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reprise.features.exceptions import PlanError

Row = Sequence[Any]
"""The state's fields in view order: numbers, or arrays with one number a row."""
Finish = Callable[[Row, Any], Any]
"""From a state and an instant (microseconds) to the feature's value."""
FloatArray = NDArray[np.float64]


class Operations(Protocol):
    """The operations that a finish is made of; every one of them passes NaN on."""

    def ratio(self, numerator: Any, denominator: Any) -> Any:
        """Divide; NaN where the denominator is not positive."""
        ...

    def sqrt(self, value: Any) -> Any:
        """Square root of a non-negative number."""
        ...

    def exp2(self, value: Any) -> Any:
        """Two to the power of ``value``."""
        ...

    def at_least_zero(self, value: Any) -> Any:
        """Replace negative numbers by zero."""
        ...

    def if_missing(self, value: Any, default: float) -> Any:
        """Replace NaN by ``default``."""
        ...

    def above(self, value: Any, threshold: float) -> Any:
        """Return 1.0 where ``value`` is greater than ``threshold``, else 0.0; 0.0 for NaN."""
        ...


class NumberOperations:
    """The operations on single numbers."""

    def ratio(self, numerator: float, denominator: float) -> float:
        """Divide; NaN where the denominator is not positive."""
        return numerator / denominator if denominator > 0 else math.nan

    def sqrt(self, value: float) -> float:
        """Square root of a non-negative number."""
        return math.sqrt(value)

    def exp2(self, value: float) -> float:
        """Two to the power of ``value``."""
        return math.exp2(value)

    def at_least_zero(self, value: float) -> float:
        """Replace negative numbers by zero."""
        return 0.0 if value < 0 else value

    def if_missing(self, value: float, default: float) -> float:
        """Replace NaN by ``default``."""
        return default if value != value else value  # noqa: PLR0124 (the fastest test for NaN)

    def above(self, value: float, threshold: float) -> float:
        """Return 1.0 where ``value`` is greater than ``threshold``, else 0.0; 0.0 for NaN."""
        return 1.0 if value > threshold else 0.0


class ArrayOperations:
    """The operations on arrays of float64."""

    def ratio(self, numerator: FloatArray, denominator: FloatArray) -> FloatArray:
        """Divide; NaN where the denominator is not positive."""
        out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
        np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
        return out

    def sqrt(self, value: FloatArray) -> FloatArray:
        """Square root of non-negative numbers."""
        return np.sqrt(value)

    def exp2(self, value: FloatArray) -> FloatArray:
        """Two to the power of ``value``."""
        return np.exp2(value)

    def at_least_zero(self, value: FloatArray) -> FloatArray:
        """Replace negative numbers by zero."""
        return np.maximum(value, 0.0)

    def if_missing(self, value: FloatArray, default: float) -> FloatArray:
        """Replace NaN by ``default``."""
        return np.where(np.isnan(value), default, value)

    def above(self, value: FloatArray, threshold: float) -> FloatArray:
        """Return 1.0 where ``value`` is greater than ``threshold``, else 0.0; 0.0 for NaN."""
        return (value > threshold).astype(np.float64)


NUMBERS = NumberOperations()
ARRAYS = ArrayOperations()


def bind(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> Finish:
    """Return the finish that a plan's ``spec`` describes, over rows whose field ``f`` is at ``index[f]``.

    Raises:
        PlanError: The kind is unknown, or a field is not in the state.
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


def _value(spec: Mapping[str, Any], index: Mapping[str, int], _: Operations) -> Finish:
    at = index[spec["field"]]
    return lambda row, _t: row[at]


def _ratio(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> Finish:
    numerator, denominator, ratio = index[spec["numerator"]], index[spec["denominator"]], ops.ratio
    return lambda row, _t: ratio(row[numerator], row[denominator])


def _std(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> Finish:
    """Sample standard deviation, ddof = 1, as pandas and so Featuretools have it."""
    n, m2, ratio, sqrt = index[spec["n"]], index[spec["m2"]], ops.ratio, ops.sqrt
    return lambda row, _t: sqrt(ratio(row[m2], row[n] - 1))


def _since(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> Finish:
    """Time since an instant; none at all for a request from before it."""
    at, unit, at_least_zero = index[spec["instant"]], spec["unit_us"], ops.at_least_zero
    return lambda row, t: at_least_zero((t - row[at]) / unit)


def _between(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> Finish:
    """Average time between consecutive events: from first to last, over their number less one."""
    first, last, n = index[spec["first"]], index[spec["last"]], index[spec["n"]]
    unit, ratio = spec["unit_us"], ops.ratio
    return lambda row, _t: ratio((row[last] - row[first]) / unit, row[n] - 1)


def _decayed(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> Finish:
    """Value × 2^(−elapsed ÷ half-life); zero when there was no event."""
    value, reference, half_life = index[spec["value"]], index[spec["reference"]], spec["half_life_us"]
    exp2, if_missing, at_least_zero = ops.exp2, ops.if_missing, ops.at_least_zero
    return lambda row, t: if_missing(row[value] * exp2(-at_least_zero((t - row[reference]) / half_life)), 0.0)


def _above(spec: Mapping[str, Any], index: Mapping[str, int], ops: Operations) -> Finish:
    inner, threshold, above = bind(spec["of"], index, ops), spec["threshold"], ops.above
    return lambda row, t: above(inner(row, t), threshold)


_BUILDERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, int], Operations], Finish]] = {
    "value": _value,
    "ratio": _ratio,
    "std": _std,
    "since": _since,
    "between": _between,
    "decayed": _decayed,
    "above": _above,
}


def feature_sql(spec: Mapping[str, Any], column: Callable[[str], str]) -> str:
    """Return the SQL of a finish that does not depend on the instant, over the columns of its fields.

    Raises:
        PlanError: The finish depends on the instant, or has no SQL.
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
