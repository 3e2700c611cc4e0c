"""Sample ratio mismatch: whether the arms have their shares of users. If not, they cannot be compared.

Pearson's χ² test is valid for one planned look. For repeated looks there is the anytime-valid test of Lindon and
Malek, *Anytime-valid inference for multinomial count data*, NeurIPS 2022: the Bayes factor of a Dirichlet prior
centred on the shares θ against the shares,

    Γ(k) / Γ(k + n) · Π Γ(kθᵢ + nᵢ) / Γ(kθᵢ) / Π θᵢ^nᵢ,

is a martingale while the shares hold, so P(it *ever* reaches 1/α) ≤ α. Its inverse is a p-value at any time.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

FALSE_ALARM = 0.001
"""The anytime-valid p-value below which the arms do not have their shares."""

_CONCENTRATION = 1_000.0
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The result of both tests."""

    expected: tuple[float, ...]  # Expected number of users of each arm
    chi_square: float  # Pearson's statistic
    p_value: float  # P-value of the χ² test, for one planned look
    anytime_p_value: float  # Anytime-valid p-value

    @property
    def detectable_loss(self) -> float:
        """The share of its users that the smallest arm must lose for the anytime-valid test to find it.

        It is found at ``FALSE_ALARM`` with a probability of 80% in one evaluation; above 1 it cannot be found.
        """
        users, due = round(sum(self.expected)), min(self.expected)
        share = due / max(1, users)
        if not 0.0 < share < 1.0:
            return math.inf

        def alarms(missing: int) -> bool:
            seen = round(due) - missing
            return sample_ratio((seen, users - seen), (share, 1.0 - share)).anytime_p_value < FALSE_ALARM

        missing = bisect_left(range(round(due) + 1), True, key=alarms)
        spread = NormalDist().inv_cdf(_POWER) * math.sqrt(users * share * (1.0 - share))
        # An arm that loses users lowers its expected number as well.
        return (missing + spread) / (due * (1.0 - share))


def sample_ratio(observed: Sequence[int], shares: Sequence[float]) -> SampleRatio:
    """Test the number of users of each of two arms or more against their shares, all positive, in any unit."""
    if len(observed) < 2 or len(observed) != len(shares) or min(shares) <= 0:
        raise ValueError(f"expected two arms or more, each with a share above 0, got {observed} of {shares}")
    users, given = sum(observed), float(sum(shares))
    ratios = [share / given for share in shares]
    expected = tuple(users * ratio for ratio in ratios)
    if users == 0:
        return SampleRatio(expected, 0.0, 1.0, 1.0)
    statistic = sum((seen - due) ** 2 / due for seen, due in zip(observed, expected, strict=True))
    factor = math.lgamma(_CONCENTRATION) - math.lgamma(_CONCENTRATION + users)
    for seen, ratio in zip(observed, ratios, strict=True):
        prior = _CONCENTRATION * ratio
        factor += math.lgamma(prior + seen) - math.lgamma(prior) - seen * math.log(ratio)
    return SampleRatio(
        expected,
        statistic,
        chi_square_survival(statistic, len(observed) - 1),
        math.exp(min(0.0, -factor)),
    )


def chi_square_survival(statistic: float, freedom: int) -> float:
    """Return P(χ² with ``freedom`` degrees of freedom ≥ statistic), in closed form (DLMF 8.4)."""
    half = statistic / 2.0
    if half <= 0:
        return 1.0
    if freedom % 2 == 0:
        terms = (math.exp(at * math.log(half) - half - math.lgamma(at + 1)) for at in range(freedom // 2))
        return min(1.0, sum(terms))
    terms = (
        math.exp((at - 0.5) * math.log(half) - half - math.lgamma(at + 0.5))
        for at in range(1, (freedom + 1) // 2)
    )
    return min(1.0, math.erfc(math.sqrt(half)) + sum(terms))
