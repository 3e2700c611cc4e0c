"""Errors of the demo."""

from reprise.runtime.exceptions import RepriseError


class DemoError(RepriseError):
    """Root of the demo's errors."""


class StepFailedError(DemoError):
    """A process of the demo failed, or ended too early."""

    def __init__(self, name: str, status: int, output: str) -> None:
        super().__init__(f"{name} ended with status {status}; the end of its output:\n{output}")


class NotReadyError(DemoError):
    """A service did not become ready in time."""
