"""What people ask for by annotation: ``kubectl annotate modelrollout NAME reprise.dev/promote=CANDIDATE``."""

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "reprise.dev/"
PROMOTE = PREFIX + "promote"
ROLLBACK = PREFIX + "rollback"
RETRY = PREFIX + "retry"
ANNOTATIONS = (PROMOTE, ROLLBACK, RETRY)


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests that have not been acted on, each the name of a candidate or of the baseline.

    Attributes:
        promote: What is to become the baseline.
        rollback: What is to be rolled back.
        retry: What is to start anew after it was rolled back.
        handled: Requests acted on before whose annotations are still there.
    """

    promote: str | None = None
    rollback: str | None = None
    retry: str | None = None
    handled: tuple[str, ...] = ()


def requests_of(annotations: Mapping[str, str], handled: tuple[str, ...]) -> Requests:
    """Return what is asked for by annotations.

    An annotation is removed once it has been acted on. Until then the status says that it has been, so that an
    operator that is killed in between does not act again.
    """
    present = {name: annotations[name].strip() for name in ANNOTATIONS if annotations.get(name, "").strip()}
    still = tuple(entry for entry in handled if entry in {as_entry(*item) for item in present.items()})
    fresh = {name: value for name, value in present.items() if as_entry(name, value) not in still}
    return Requests(fresh.get(PROMOTE), fresh.get(ROLLBACK), fresh.get(RETRY), still)


def as_entry(annotation: str, value: str) -> str:
    """Return how the status remembers a request."""
    return f"{annotation}={value}"
