"""Errors of this package."""

from collections.abc import Sequence

from reprise.runtime.exceptions import RepriseError


class RolloutError(RepriseError):
    """Root of this package's errors."""


class InvalidResourceError(RolloutError):
    """A resource's spec or status is not what its definition says; one line for each field at fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class ClusterError(RolloutError):
    """The Kubernetes API refuses, or is away; says what was asked of it."""


class ConflictError(ClusterError):
    """A resource has changed since it was read."""


class MetricsError(RolloutError):
    """Prometheus is away, or refuses a query."""


class StuckError(RolloutError):
    """The operator does not look at rollouts any more."""
