"""Featuretools primitives: exponentially decayed count and sum.

Featuretools loads this module through the entry point ``featuretools_primitives``, and exports the primitives from
``featuretools.primitives``. Saved features name this module.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from featuretools.primitives.base import AggregationPrimitive
from woodwork.column_schema import ColumnSchema
from woodwork.logical_types import Datetime, Double

_NUMERIC = ColumnSchema(logical_type=Double, semantic_tags={"numeric"})
_TIME_INDEX = ColumnSchema(logical_type=Datetime, semantic_tags={"time_index"})


class _Decayed:
    """What both primitives have in common, as Featuretools names it."""

    return_type = _NUMERIC
    uses_calc_time = True
    stack_on_self = False
    default_value = 0
    described: str

    def __init__(self, half_life_days: float = 7) -> None:
        self.half_life_days = half_life_days
        self.description_template = self.described.format(f"halving every {half_life_days:g} days")

    def _weights(self, times: "pd.Series[Any]", time: pd.Timestamp | None) -> Any:
        elapsed_days = (time - pd.Series(times)).dt.total_seconds().to_numpy() / 86_400
        return np.exp2(-elapsed_days / self.half_life_days)


class DecayedCount(_Decayed, AggregationPrimitive):  # type: ignore[misc]
    """Counts events, each halved for every half-life that has passed since it happened.

    The value at instant t is Σ 2^(−(t − tᵢ) ÷ half-life) over the events i, and 0 without events.
    """

    name = "decayed_count"
    input_types = [_TIME_INDEX]  # noqa: RUF012 (Featuretools' own interface)
    described = "the number, {},"

    def get_function(self) -> Callable[..., float]:
        """Return the function that Featuretools calls for each entity."""

        def decayed_count(times: "pd.Series[Any]", time: pd.Timestamp | None = None) -> float:
            return float(self._weights(times, time).sum())

        return decayed_count


class DecayedSum(_Decayed, AggregationPrimitive):  # type: ignore[misc]
    """Sums numbers, each halved for every half-life that has passed since it happened.

    The value at instant t is Σ xᵢ 2^(−(t − tᵢ) ÷ half-life) over the events i with a number, and 0 without.
    """

    name = "decayed_sum"
    input_types = [_NUMERIC, _TIME_INDEX]  # noqa: RUF012 (Featuretools' own interface)
    described = "the sum, {}, of {{}}"

    def get_function(self) -> Callable[..., float]:
        """Return the function that Featuretools calls for each entity."""

        def decayed_sum(
            numbers: "pd.Series[Any]", times: "pd.Series[Any]", time: pd.Timestamp | None = None
        ) -> float:
            return float(np.nansum(np.asarray(numbers, dtype=np.float64) * self._weights(times, time)))

        return decayed_sum
