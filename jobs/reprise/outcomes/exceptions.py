"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class OutcomesError(RepriseError):
    """Root of this package's errors."""


class NothingArchivedError(OutcomesError):
    """There is nothing to judge yet."""


class HorizonsDifferError(OutcomesError):
    """The models of the arms predict over different horizons, so that no outcome is that of all of them."""

    def __init__(self, horizons: dict[str, int]) -> None:
        said = ", ".join(f"{digest[:19]} {seconds:,} s" for digest, seconds in sorted(horizons.items()))
        super().__init__(f"the models' horizons differ ({said}); name the one to judge by with --horizon")
