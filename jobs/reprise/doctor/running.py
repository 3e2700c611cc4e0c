"""Running checks one after the other, each bounded in time, whatever came of those before."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from reprise.doctor.check import Check, Result, Say, Seen
from reprise.doctor.exceptions import CheckFailedError, CheckSkippedError, UnknownCheckError


def chosen(checks: Sequence[Check], only: Collection[str], skip: Collection[str]) -> list[Check]:
    """Return the checks that are asked for, in their order.

    Args:
        checks: All there are.
        only: Names of those to run; all if empty.
        skip: Names of those to leave out.

    Raises:
        UnknownCheckError: A name is none of theirs.
    """
    known = [check.name for check in checks]
    if unknown := sorted({*only, *skip} - set(known)):
        raise UnknownCheckError(unknown, known)
    return [check for check in checks if (not only or check.name in only) and check.name not in skip]


def run_checks(checks: Sequence[Check], say: Callable[[str, str], None]) -> Iterator[Result]:
    """Yield what comes of each check, in their order.

    Args:
        checks: What to look at. One that needs a check that is not among them is run all the same.
        say: Called with a check's name and what it waits for.
    """
    down: set[str] = set()
    for check in checks:
        result, is_down = _result(check, down, say)
        if is_down:
            down.add(check.name)
        yield result


def _result(check: Check, down: Collection[str], say: Callable[[str, str], None]) -> tuple[Result, bool]:
    """Return what comes of a check, and whether others can still build on it."""
    if causes := _among(check.needs, down):
        return Result(check.name, "skipped", f"needs {causes}, see there"), True
    say(check.name, "")
    result = _run(check, lambda text: say(check.name, text))
    if result.status != "failed":
        return result, False
    if causes := _among(check.follows, down):
        seen = f"follows from {causes}, see there: {result.seen}"
        return Result(check.name, "skipped", seen, result.seconds), True
    return result, True


def _among(names: Collection[str], down: Collection[str]) -> str:
    return ", ".join(name for name in names if name in down)


def _run(check: Check, say: Say) -> Result:
    started = time.monotonic()
    try:
        seen = _bounded(check, say)
    except CheckSkippedError as skipped:
        return Result(check.name, "skipped", str(skipped), time.monotonic() - started)
    except CheckFailedError as failure:
        took = time.monotonic() - started
        return Result(check.name, "failed", failure.seen, took, failure.advice, failure.section)
    except Exception as error:  # noqa: BLE001
        # The drivers of stores raise classes of their own; whatever it is, the other checks go on.
        took, seen = time.monotonic() - started, Seen(f"{type(error).__name__}: {error}")
        return Result(check.name, "failed", seen.text, took, check.advice, check.section)
    return Result(check.name, "ok", seen.text, time.monotonic() - started, measured=seen.measured)


def _bounded(check: Check, say: Say) -> Seen:
    """Return what the check has seen, if it ends in time; one that hangs is left behind."""
    outcome: list[Seen | Exception] = []

    def look() -> None:
        try:
            outcome.append(check.look(say))
        except Exception as error:  # noqa: BLE001 - raised again below, on the thread that waits
            outcome.append(error)

    thread = threading.Thread(target=look, name=check.name, daemon=True)
    thread.start()
    thread.join(check.seconds)
    if not outcome:
        raise CheckFailedError(f"no answer within {check.seconds:g} s", check.advice, check.section)
    (seen,) = outcome
    if isinstance(seen, Exception):
        raise seen
    return seen
