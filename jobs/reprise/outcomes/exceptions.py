"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class OutcomesError(RepriseError):
    """Root of this package's errors."""


class NothingArchivedError(OutcomesError):
    """There is nothing to evaluate yet."""


class HorizonsDifferError(OutcomesError):
    """The models of the arms predict over different horizons, so they have no outcome in common."""

    def __init__(self, horizons: dict[str, int]) -> None:
        listed = ", ".join(f"{digest[:19]} {seconds:,} s" for digest, seconds in sorted(horizons.items()))
        super().__init__(f"the models' horizons differ ({listed}); choose one with --horizon")
