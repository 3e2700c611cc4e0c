from typing import Any

from reprise.cli.demo.ab_test import result_lines, some_pairs


def report(lower: float | None) -> dict[str, Any]:
    look = {"difference": 0.013, "lower": lower, "upper": 0.02}
    return {
        "users": {"baseline": 1_010, "full": 990},
        "ratio": {"anytime_p_value": 1.0},
        "candidates": [{"results": [{"verdict": "not_worse", "looks": [{"lower": None}, look]}]}],
        "consistency": {"predictions": 500, "mismatched": 0},
    }


def test_lines_tell_users_verdict_and_mismatches() -> None:
    users, brier, checked = result_lines(report(0.006))
    assert users == "users baseline 1,010, full 990: split as the shares say, p = 1"
    assert brier == (
        "Brier score on the same predictions: candidate not worse, +0.0130 (+0.0060 to +0.0200 at all times)"
    )
    assert checked == "500 logged predictions recomputed offline: 0 mismatches"


def test_lines_of_too_few_users_say_so() -> None:
    assert "too few users or conversions yet" in result_lines(report(None))[1]


def test_a_few_different_pairs_of_each_user_are_asked_for() -> None:
    pairs = [("a", f"p{number % 19}") for number in range(40)] + [("b", "p1"), ("b", "p1")]
    assert some_pairs(pairs) == [("a", f"p{number}") for number in range(12)] + [("b", "p1")]
