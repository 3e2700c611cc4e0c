import threading
from collections.abc import Callable

import pytest

from reprise.doctor.check import (
    Check,
    CheckFailedError,
    CheckResult,
    CheckSkippedError,
    Observation,
    Remedy,
    ReportProgress,
    UnknownCheckError,
    run_checks,
    select_checks,
)


def check(name: str, look: Callable[[ReportProgress], Observation] | None = None, **more: object) -> Check:
    given = {"seconds": 5.0, "remedy": Remedy(f"mend {name}", f"about-{name}"), **more}
    return Check(name, look or (lambda _: Observation(f"{name} is well")), **given)  # type: ignore[arg-type]


def failing(_: ReportProgress) -> Observation:
    raise CheckFailedError("it is broken", Remedy("repair it", "the-section"))


def skipping(_: ReportProgress) -> Observation:
    raise CheckSkippedError("there is none")


def run(*checks: Check) -> dict[str, CheckResult]:
    return {result.name: result for result in run_checks(checks, lambda _name, _text: None)}


@pytest.mark.parametrize(
    ("checks", "statuses", "found"),
    [
        ([check("a", failing), check("b")], "failed ok", "b is well"),
        (
            [check("a", failing), check("b", needs=("a",)), check("c", needs=("b",))],
            "failed skipped skipped",
            "needs a",
        ),
        ([check("a", skipping), check("b", needs=("a", "z"))], "skipped ok", "b is well"),
        (
            [check("a", failing), check("b", failing, follows=("a",)), check("c", needs=("b",))],
            "failed skipped skipped",
            "follows from a, see there: it is broken",
        ),
        ([check("a"), check("b", failing, follows=("a",))], "ok failed", "it is broken"),
    ],
    ids=[
        "goes on",
        "needs what failed",
        "needs what was skipped or is not run",
        "is explained",
        "is not explained",
    ],
)
def test_a_check_depends_on_those_before_it(checks: list[Check], statuses: str, found: str) -> None:
    results = run(*checks)
    assert [result.status for result in results.values()] == statuses.split()
    assert results["b"].found.startswith(found)


def test_a_check_that_fails_at_first_is_run_again_until_the_network_of_a_new_pod_has_settled() -> None:
    attempts: list[str] = []

    def refused_once(_: ReportProgress) -> Observation:
        attempts.append("a")
        if len(attempts) == 1:
            raise CheckFailedError("connection refused", Remedy("repair it", "the-section"))
        return Observation("it answers")

    def status(settle_seconds: float, *checks: Check) -> list[str]:
        attempts.clear()
        return [each.status for each in run_checks(checks, lambda _name, _text: None, settle_seconds)]

    assert status(60.0, check("a", refused_once), check("b", needs=("a",))) == ["ok", "ok"]
    assert len(attempts) == 2
    assert status(0.0, check("a", refused_once), check("b", needs=("a",))) == ["failed", "skipped"]
    assert status(0.01, check("a", failing)) == ["failed"]


def test_a_failure_says_what_was_seen_what_to_do_and_where_to_read_on() -> None:
    result = run(check("a", failing))["a"]
    assert (result.found, result.remedy.advice) == ("it is broken", "repair it")
    assert result.runbook == "docs/operations.md#the-section"


def test_a_check_that_hangs_is_left_behind_with_its_advice() -> None:
    release = threading.Event()

    def hang(_: ReportProgress) -> Observation:
        release.wait(60)
        return Observation("")

    try:
        results = run(check("a", hang, seconds=0.05), check("b"))
    finally:
        release.set()
    assert results["a"].found == "no answer within 0.05 s"
    assert (results["a"].status, results["a"].remedy.advice) == ("failed", "mend a")
    assert results["b"].status == "ok"


def test_an_error_that_nobody_foresaw_is_a_failure_with_its_name() -> None:
    def break_down(_: ReportProgress) -> Observation:
        raise ZeroDivisionError("by zero")

    result = run(check("a", break_down))["a"]
    assert (result.status, result.found) == ("failed", "ZeroDivisionError: by zero")
    assert result.remedy.advice == "mend a"


def test_who_waits_is_told_for_what() -> None:
    told: list[tuple[str, str]] = []

    def look(say: ReportProgress) -> Observation:
        say("asking")
        return Observation("")

    list(run_checks([check("a", look)], lambda name, text: told.append((name, text))))
    assert told == [("a", ""), ("a", "asking")]


def test_checks_are_chosen_by_name() -> None:
    checks = [check("a"), check("b"), check("c")]
    assert [each.name for each in select_checks(checks, (), ())] == ["a", "b", "c"]
    assert [each.name for each in select_checks(checks, ("c", "a"), ())] == ["a", "c"]
    assert [each.name for each in select_checks(checks, (), ("b",))] == ["a", "c"]
    with pytest.raises(UnknownCheckError, match="no check is called x; there are a, b, c"):
        select_checks(checks, ("x",), ())
