"""Errors of this package."""

from collections.abc import Sequence

from reprise.runtime.exceptions import RepriseError


class RoutingError(RepriseError):
    """Root of this package's errors."""


class InvalidRoutingError(RoutingError, ValueError):
    """A routing document, report or evidence breaks its format; one line for each field at fault.

    Attributes:
        what: What was read, such as ``routing document``.
        problems: ``field: what is wrong with it``.
    """

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.what = what
        self.problems = tuple(problems)
        super().__init__(f"invalid {what}: " + "; ".join(self.problems))


class InvalidSharesError(RoutingError, ValueError):
    """Shares cannot be given to arms: they add up to more than all users, or name an arm twice."""
