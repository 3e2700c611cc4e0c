"""Errors of this package."""


class DatagenError(Exception):
    """Root of this package's errors."""


class UnwritableOutputError(DatagenError):
    """An output cannot be written as asked; says which and why."""


class InvalidPlanError(DatagenError):
    """What is to be generated contradicts itself; says how."""
