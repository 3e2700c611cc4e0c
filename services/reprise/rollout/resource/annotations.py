"""Requests by annotation: ``kubectl annotate modelrollout NAME reprise.dev/promote=CANDIDATE``."""

from collections.abc import Mapping
from dataclasses import dataclass

_PREFIX = "reprise.dev/"
PROMOTE, ROLLBACK, RETRY = _PREFIX + "promote", _PREFIX + "rollback", _PREFIX + "retry"


@dataclass(frozen=True, slots=True)
class AnnotationRequests:
    """The requests that are still to be handled, each the name of a candidate (``rollback`` also ``baseline``).

    Attributes:
        promote: The candidate to make the baseline.
        rollback: The candidate, or the baseline, to roll back.
        retry: The candidate to restart after a rollback.
        handled: Requests that were handled but whose annotations are still there.
    """

    promote: str | None = None
    rollback: str | None = None
    retry: str | None = None
    handled: tuple[str, ...] = ()


def read_requests(annotations: Mapping[str, str], handled: tuple[str, ...]) -> AnnotationRequests:
    """Return the requests in the annotations.

    A handled annotation is removed. Until then the status lists it, so that an operator that was killed in between
    does not handle it twice.
    """
    present = {
        name: value for name in (PROMOTE, ROLLBACK, RETRY) if (value := annotations.get(name, "").strip())
    }
    entries = {name: request_entry(name, value) for name, value in present.items()}
    still_there = tuple(entry for entry in handled if entry in entries.values())
    new = {name: value for name, value in present.items() if entries[name] not in still_there}
    return AnnotationRequests(new.get(PROMOTE), new.get(ROLLBACK), new.get(RETRY), still_there)


def request_entry(annotation: str, value: str) -> str:
    """Return a request as ``status.handledRequests`` lists it."""
    return f"{annotation}={value}"
