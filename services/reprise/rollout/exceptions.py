"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class RolloutError(RepriseError):
    """Root of this package's errors."""


class InvalidResourceError(RolloutError):
    """A resource's spec or status violates its schema; the message has each invalid field."""


class InvalidTransitionError(RolloutError):
    """A candidate may not go from one phase to another."""

    def __init__(self, candidate: str, phase: str, following: str) -> None:
        super().__init__(f"candidate {candidate}: no transition from {phase} to {following}")


class ClusterError(RolloutError):
    """The Kubernetes API is unavailable, or refused a request."""


class ConflictError(ClusterError):
    """A resource has changed since it was read."""


class MetricsError(RolloutError):
    """Prometheus is unavailable or refused a query."""
