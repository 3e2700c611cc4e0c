"""The population stability index of two histograms, and its upper bound under pure sampling noise."""

import math
from collections.abc import Sequence

_HALF = 0.5
_Z_999 = 3.090232306167813


def population_stability_index(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Σ (pᵢ − qᵢ) ln(pᵢ / qᵢ) of two histograms over the same bins.

    The symmetric Kullback–Leibler divergence, PSI in credit scoring (Siddiqi, *Credit Risk Scorecards*, 2006; by its
    rule of thumb 0.1 is a small and 0.25 a large shift). Half a count is added to each bin, so that an empty bin does
    not make it infinite; bins that are empty in both are left out.

    Raises:
        ValueError: The histograms have different bins, or one is empty.
    """
    if len(one) != len(other) or not sum(one) or not sum(other):
        raise ValueError("expected two histograms over the same bins, neither empty")
    bins = [pair for pair in zip(one, other, strict=True) if any(pair)]
    total_one = sum(a + _HALF for a, _ in bins)
    total_other = sum(b + _HALF for _, b in bins)
    return sum(
        (p - q) * math.log(p / q)
        for p, q in (((a + _HALF) / total_one, (b + _HALF) / total_other) for a, b in bins)
    )


def merge_into_deciles(reference: Sequence[float], *others: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Return the histograms with neighbouring bins merged until each has at least a tenth of the reference.

    The index is usually taken over the reference's deciles, because nearly empty bins add mostly noise.
    """
    enough = sum(reference) / 10
    merged: list[list[float]] = []
    for values in zip(reference, *others, strict=True):
        if merged and merged[-1][0] < enough:
            merged[-1] = [have + more for have, more in zip(merged[-1], values, strict=True)]
        else:
            merged.append(list(values))
    if len(merged) > 1 and merged[-1][0] < enough:
        last = merged.pop()
        merged[-1] = [have + more for have, more in zip(merged[-1], last, strict=True)]
    return tuple(zip(*merged, strict=True))


def psi_noise_bound(bins: int, one: float, other: float) -> float:
    """Return the 99.9 % quantile of the index of two samples of one distribution, given their independent values.

    For samples of n and m in B bins it is distributed as (1/n + 1/m) χ² with B − 1 degrees of freedom (Yurdakul and
    Naranjo, *Statistical properties of the population stability index*, Journal of Risk Model Validation, 2020); the
    quantile is Wilson and Hilferty's (1931).
    """
    freedom = max(1, bins - 1)
    spread = 2.0 / (9.0 * freedom)
    quantile = freedom * (1.0 - spread + _Z_999 * math.sqrt(spread)) ** 3
    return (1.0 / one + 1.0 / other) * quantile
