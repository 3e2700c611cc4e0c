"""A check of an installation, and its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from reprise.runtime.exceptions import RepriseError

RUNBOOK = "docs/operations.md"

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
    """What a passing check found.

    Attributes:
        text: In words.
        measured: In numbers; the names end with their unit.
    """

    text: str
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: Its name, for ``--only`` and ``--skip``.
        run: Returns what it found; raises ``CheckFailedError`` or ``CheckSkippedError``.
        seconds: Timeout.
        remedy: For a timeout and for unexpected errors.
        needs: Checks that must have passed; it is skipped otherwise.
        follows: Checks whose failure explains its own, which is then reported as skipped.
    """

    name: str
    run: Callable[[ReportProgress], Observation]
    seconds: float
    remedy: Remedy
    needs: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check.

    Attributes:
        found: What was found, or why the check was skipped.
        seconds: Duration.
        remedy: Where it failed.
        measured: Numbers; the names end with their unit.
    """

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
