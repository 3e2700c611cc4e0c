"""A check, and what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

RUNBOOK = "docs/operations.md"

Say = Callable[[str], None]
"""Tells who waits what is being waited for."""

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check found, where all is well.

    Attributes:
        text: In words.
        measured: In numbers, by names that end with their unit.
    """

    text: str
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at.

    Attributes:
        name: Its name, for ``--only`` and ``--skip``.
        look: Looks; raises ``CheckFailedError`` or ``CheckSkippedError`` where it is not well.
        seconds: Longest that it may take.
        advice: What to do where it does not end, or ends in an unforeseen way.
        section: Where docs/operations.md has more about that.
        needs: Checks without which it makes no sense.
        follows: Checks whose failure explains its own.
    """

    name: str
    look: Callable[[Say], Seen]
    seconds: float
    advice: str
    section: str
    needs: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check.

    Attributes:
        name: The check's name.
        status: Whether it is well.
        seen: What was seen, or why it was skipped.
        seconds: How long it took.
        advice: What to do, where it failed.
        section: Where docs/operations.md has more, where it failed.
        measured: What was measured, by names that end with their unit.
    """

    name: str
    status: Status
    seen: str
    seconds: float = 0.0
    advice: str = ""
    section: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def runbook(self) -> str:
        """The page and section to read, empty where there is none."""
        return f"{RUNBOOK}#{self.section}" if self.section else ""
