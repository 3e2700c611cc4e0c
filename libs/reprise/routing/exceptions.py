"""Errors of this package."""

from collections.abc import Sequence

from reprise.runtime.exceptions import RepriseError


class RoutingError(RepriseError):
    """Root of this package's errors."""


class InvalidRoutingError(RoutingError, ValueError):
    """A routing document, report or evidence breaks its format; ``problems`` has each field at fault."""

    def __init__(self, kind: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"invalid {kind}: " + "; ".join(self.problems))


class InvalidSharesError(RoutingError, ValueError):
    """Shares add up to more than all users, or name an arm twice."""
