"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class StatusError(RepriseError):
    """Root of this package's errors."""


class UnreadableError(StatusError):
    """What a process was asked for it did not answer, or not in a form that can be read; says why, for the page."""


class NothingOfOursError(UnreadableError):
    """A page of metrics has none of Reprise."""
