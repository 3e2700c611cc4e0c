import numpy as np
import pytest
from scipy.stats import chi2

from reprise.routing.sample_ratio import chi_square_survival, sample_ratio


@pytest.mark.parametrize("freedom", range(1, 8))
@pytest.mark.parametrize("statistic", [1e-6, 0.3, 3.84, 20.0, 500.0])
def test_survival_function_is_scipys(statistic: float, freedom: int) -> None:
    assert chi_square_survival(statistic, freedom) == pytest.approx(chi2.sf(statistic, freedom), rel=1e-9)


def test_users_spread_by_their_shares_are_no_mismatch() -> None:
    found = sample_ratio([9_012, 988], [9_000, 1_000])
    assert found.expected == (9_000, 1_000)
    assert found.chi_square == pytest.approx(12**2 / 9_000 + 12**2 / 1_000)
    assert found.p_value > 0.5
    assert found.anytime_p_value == 1.0


def test_arm_that_loses_a_tenth_of_its_users_is_a_mismatch() -> None:
    found = sample_ratio([10_000, 9_000], [1, 1])
    assert found.p_value < 1e-6
    assert found.anytime_p_value < 1e-6


def test_no_users_are_no_mismatch() -> None:
    assert sample_ratio([0, 0], [1, 1]).p_value == 1.0


def test_looking_every_hour_does_not_raise_false_alarms() -> None:
    rng = np.random.default_rng(3)
    alarms = planned = 0
    for _ in range(200):
        hourly = rng.multinomial(60, [0.75, 0.25], size=336).cumsum(axis=0)
        looks = [sample_ratio(counts.tolist(), [3, 1]) for counts in hourly[::6]]
        alarms += min(look.anytime_p_value for look in looks) < 0.05
        planned += min(look.p_value for look in looks) < 0.05
    assert alarms / 200 <= 0.05
    assert planned / 200 > 0.2


def test_an_arm_without_a_share_is_refused() -> None:
    with pytest.raises(ValueError, match="share above 0"):
        sample_ratio([10, 0], [1, 0])
