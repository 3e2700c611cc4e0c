"""Checks of an installation, run one after the other, each with a timeout; a failure does not stop the others."""

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from rich.console import Console

from reprise.runtime.exceptions import RepriseError
from reprise.runtime.progress import progress_is_off

RUNBOOK = "docs/operations.md"
_RETRY_SECONDS = 1.0

ReportProgress = Callable[[str], None]
"""Takes what a check waits for."""

Status = Literal["ok", "failed", "skipped"]


class Remedy(NamedTuple):
    """What a person does about a failure, and the anchor of the runbook's section about it."""

    advice: str
    section: str


class DoctorError(RepriseError):
    """Root of this package's errors."""


class CheckFailedError(DoctorError):
    """A check failed: what it found, and the remedy."""

    def __init__(self, found: str, remedy: Remedy) -> None:
        self.found = found
        self.remedy = remedy
        super().__init__(found)


class CheckSkippedError(DoctorError):
    """A check does not apply to this installation; the message says why."""


class UnknownCheckError(DoctorError):
    """There is no check of a given name."""

    def __init__(self, names: list[str], known: list[str]) -> None:
        super().__init__(f"no check is called {', '.join(names)}; there are {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class Observation:
    """What a passing check found, in words and in numbers whose names end with their unit."""

    text: str
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One check; ``run`` returns what it found, or raises ``CheckFailedError`` or ``CheckSkippedError``."""

    name: str
    run: Callable[[ReportProgress], Observation]
    remedy: Remedy  # For a timeout and for unexpected errors
    seconds: float  # Timeout
    needs: tuple[str, ...] = ()  # Checks that must have passed; it is skipped otherwise
    follows: tuple[str, ...] = ()  # Checks whose failure explains its own, which is then reported as skipped


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found and measured or why it was skipped, how long it took, and the remedy where it failed."""

    name: str
    status: Status
    found: str
    seconds: float = 0.0
    remedy: Remedy | None = None
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def runbook(self) -> str:
        """Page and anchor of the runbook's section, empty without a remedy."""
        return f"{RUNBOOK}#{self.remedy.section}" if self.remedy else ""


def select_checks(checks: Sequence[Check], only: Collection[str], skip: Collection[str]) -> list[Check]:
    """Return the checks named by ``only`` (all if empty) without those named by ``skip``, in their order.

    Raises:
        UnknownCheckError: No check has such a name.
    """
    known = [check.name for check in checks]
    if unknown := sorted({*only, *skip} - set(known)):
        raise UnknownCheckError(unknown, known)
    return [check for check in checks if (not only or check.name in only) and check.name not in skip]


def run_checks(
    checks: Sequence[Check], report: Callable[[str, str], None], settle_seconds: float = 0.0
) -> Iterator[CheckResult]:
    """Yield the result of each check, in their order.

    A check whose needs are not among ``checks`` runs all the same. ``report`` takes a check's name and what it waits
    for. One that fails within ``settle_seconds`` seconds of the start is run again.
    """
    down: set[str] = set()
    settled = time.monotonic() + settle_seconds
    for check in checks:
        if causes := _among(check.needs, down):
            down.add(check.name)
            yield CheckResult(check.name, "skipped", f"needs {causes}, see there")
            continue
        while True:
            report(check.name, "")
            result = _run(check, lambda text, name=check.name: report(name, text))  # type: ignore[misc]
            if result.status != "failed" or time.monotonic() >= settled:
                break
            report(check.name, f"failed, and is run again: {result.found}")
            time.sleep(_RETRY_SECONDS)
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

    def line(name: str, text: str) -> str:
        return f"{name}: {text}" if text else f"checking {name}"

    if progress_is_off():
        yield lambda _name, _text: None
    elif sys.stderr.isatty():
        with Console(stderr=True).status("") as status:
            yield lambda name, text: status.update(line(name, text))
    else:
        yield lambda name, text: print(line(name, text), file=sys.stderr, flush=True)


def _among(names: Collection[str], down: Collection[str]) -> str:
    return ", ".join(name for name in names if name in down)


def _run(check: Check, report: ReportProgress) -> CheckResult:
    """Return the result of a check; after its timeout its thread is abandoned."""
    results: list[CheckResult] = []
    started = time.monotonic()

    def run() -> None:
        try:
            found = check.run(report)
            results.append(CheckResult(check.name, "ok", found.text, measured=found.measured))
        except CheckSkippedError as skipped:
            results.append(CheckResult(check.name, "skipped", str(skipped)))
        except CheckFailedError as failure:
            results.append(CheckResult(check.name, "failed", failure.found, remedy=failure.remedy))
        except Exception as error:  # noqa: BLE001 - drivers raise classes of their own, and the other checks go on
            found_text = f"{type(error).__name__}: {error}"
            results.append(CheckResult(check.name, "failed", found_text, remedy=check.remedy))

    thread = threading.Thread(target=run, name=check.name, daemon=True)
    thread.start()
    thread.join(check.seconds)
    late = CheckResult(check.name, "failed", f"no answer within {check.seconds:g} s", remedy=check.remedy)
    return replace(results[0] if results else late, seconds=time.monotonic() - started)
