"""Errors of this package."""

from collections.abc import Mapping

from reprise.runtime.exceptions import RepriseError


class OutcomesError(RepriseError):
    """Root of this package's errors."""


class NothingArchivedError(OutcomesError):
    """There is nothing to evaluate yet."""


class LabelsDifferError(OutcomesError):
    """The models of the arms predict different things, so they have no outcome in common."""

    def __init__(self, name: str, values: Mapping[str, object]) -> None:
        listed = ", ".join(f"{digest[:19]} {value}" for digest, value in sorted(values.items()))
        setting = f"; choose one with --{name.replace(' ', '-')}" if name != "event type" else ""
        super().__init__(f"the models differ in the {name} ({listed}){setting}")
