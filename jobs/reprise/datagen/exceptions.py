"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class DatagenError(RepriseError):
    """Root of this package's errors."""


class UnwritableOutputError(DatagenError):
    """An output cannot be written as asked; says which and why."""


class InvalidPlanError(DatagenError):
    """What is to be generated contradicts itself; says how."""
