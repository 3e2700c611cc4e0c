"""Errors of the scoring job."""

from reprise.runtime.exceptions import RepriseError


class ScoringError(RepriseError):
    """The scores cannot be computed."""
