"""The population stability index of two histograms, and its upper bound under pure sampling noise."""

import math
from collections.abc import Sequence
from statistics import NormalDist

_HALF = 0.5


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


def merge_bins(
    parts: int, reference: Sequence[float], *others: Sequence[float]
) -> tuple[tuple[float, ...], ...]:
    """Return the histograms with neighbouring bins merged until each has at least 1/``parts`` of the reference.

    The index is usually taken over the reference's deciles, because nearly empty bins add mostly noise. Where that
    leaves one bin, there are two: the fullest of the reference, and all others. One bin would hide any difference.
    """
    enough = sum(reference) / parts
    merged: list[list[float]] = []
    for values in zip(reference, *others, strict=True):
        if merged and merged[-1][0] < enough:
            merged[-1] = [have + more for have, more in zip(merged[-1], values, strict=True)]
        else:
            merged.append(list(values))
    if len(merged) > 1 and merged[-1][0] < enough:
        last = merged.pop()
        merged[-1] = [have + more for have, more in zip(merged[-1], last, strict=True)]
    if len(merged) == 1:
        fullest = max(range(len(reference)), key=reference.__getitem__)
        return tuple((each[fullest], sum(each) - each[fullest]) for each in (reference, *others))
    return tuple(zip(*merged, strict=True))


def psi_noise_bound(bins: int, one: float, other: float, alpha: float = 0.001) -> float:
    """Return what the index of two samples of one distribution exceeds with probability ``alpha``.

    ``one`` and ``other`` are their numbers of independent values. For n and m of these in B bins the index is
    distributed as (1/n + 1/m) χ² with B − 1 degrees of freedom (Yurdakul and Naranjo, *Statistical properties of the
    population stability index*, Journal of Risk Model Validation, 2020); the quantile is Wilson and Hilferty's (1931).
    """
    freedom = max(1, bins - 1)
    spread = 2.0 / (9.0 * freedom)
    quantile = freedom * (1.0 - spread + -NormalDist().inv_cdf(alpha) * math.sqrt(spread)) ** 3
    return (1.0 / one + 1.0 / other) * quantile


def analysis_false_alarm(alpha: float, windows: float, analyses_per_window: float) -> float:
    """Return the false alarm probability of one analysis, so that those of all analyses sum to at most ``alpha``.

    The n-th window gets 6 / (π² n²) of it, of which the sum over all n is 1 (a union bound), in equal parts for the
    analyses in it. ``windows`` is the number of windows since the first analysis, not necessarily a whole one.
    """
    number = 1 + math.floor(windows)
    return alpha * 6.0 / (math.pi * number) ** 2 / max(1.0, analyses_per_window)
