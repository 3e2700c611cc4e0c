"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class DatagenError(RepriseError):
    """Root of this package's errors."""


class UnwritableOutputError(DatagenError):
    """An output cannot be written; says which and why."""


class InvalidOptionsError(DatagenError):
    """The options contradict each other; says how."""
