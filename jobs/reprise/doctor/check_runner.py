"""Runs checks one after the other, each with a timeout; a failure does not stop the others."""

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from reprise.doctor.check import (
    Check,
    CheckFailedError,
    CheckResult,
    CheckSkippedError,
    Observation,
    ReportProgress,
    UnknownCheckError,
)


def select_checks(checks: Sequence[Check], only: Collection[str], skip: Collection[str]) -> list[Check]:
    """Return the checks named by ``only`` (all if empty) without those named by ``skip``, in their order.

    Raises:
        UnknownCheckError: No check has such a name.
    """
    known = [check.name for check in checks]
    if unknown := sorted({*only, *skip} - set(known)):
        raise UnknownCheckError(unknown, known)
    return [check for check in checks if (not only or check.name in only) and check.name not in skip]


def run_checks(checks: Sequence[Check], report: Callable[[str, str], None]) -> Iterator[CheckResult]:
    """Yield the result of each check, in their order.

    A check whose needs are not among ``checks`` runs all the same. ``report`` takes a check's name and what it waits
    for.
    """
    down: set[str] = set()
    for check in checks:
        if causes := _among(check.needs, down):
            down.add(check.name)
            yield CheckResult(check.name, "skipped", f"needs {causes}, see there")
            continue
        report(check.name, "")
        result = _run(check, lambda text, name=check.name: report(name, text))  # type: ignore[misc]
        if result.status == "failed":
            down.add(check.name)
            if causes := _among(check.follows, down):
                found = f"follows from {causes}, see there: {result.found}"
                result = CheckResult(check.name, "skipped", found, result.seconds)
        yield result


@contextmanager
def progress() -> Iterator[Callable[[str, str], None]]:
    """Yield a function that shows, on standard error, a check's name and what it waits for.

    On a terminal it is one line that changes. ``REPRISE_PROGRESS=off`` turns it off.
    """
    if os.environ.get("REPRISE_PROGRESS", "").lower() == "off":
        yield lambda _name, _text: None
    elif sys.stderr.isatty():
        with Console(stderr=True).status("") as status:
            yield lambda name, text: status.update(_progress_line(name, text))
    else:
        yield lambda name, text: print(_progress_line(name, text), file=sys.stderr, flush=True)


def _progress_line(name: str, text: str) -> str:
    return f"{name}: {text}" if text else f"checking {name}"


def _among(names: Collection[str], down: Collection[str]) -> str:
    return ", ".join(name for name in names if name in down)


def _run(check: Check, report: ReportProgress) -> CheckResult:
    started = time.monotonic()
    try:
        observation = _run_with_timeout(check, report)
    except CheckSkippedError as skipped:
        return CheckResult(check.name, "skipped", str(skipped), time.monotonic() - started)
    except CheckFailedError as failure:
        return CheckResult(check.name, "failed", failure.found, time.monotonic() - started, failure.remedy)
    except Exception as error:  # noqa: BLE001 - drivers raise classes of their own, and the other checks go on
        found = f"{type(error).__name__}: {error}"
        return CheckResult(check.name, "failed", found, time.monotonic() - started, check.remedy)
    seconds = time.monotonic() - started
    return CheckResult(check.name, "ok", observation.text, seconds, measured=observation.measured)


def _run_with_timeout(check: Check, report: ReportProgress) -> Observation:
    """Return what the check finds; after its timeout its thread is abandoned."""
    outcome: list[Observation | Exception] = []

    def run() -> None:
        try:
            outcome.append(check.run(report))
        except Exception as error:  # noqa: BLE001 - raised again on the waiting thread
            outcome.append(error)

    thread = threading.Thread(target=run, name=check.name, daemon=True)
    thread.start()
    thread.join(check.seconds)
    if not outcome:
        raise CheckFailedError(f"no answer within {check.seconds:g} s", check.remedy)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
