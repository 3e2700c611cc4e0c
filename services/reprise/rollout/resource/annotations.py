"""Requests by annotation: ``kubectl annotate modelrollout NAME reprise.dev/promote=CANDIDATE``."""

from collections.abc import Mapping, Sequence

PROMOTE, ROLLBACK, RETRY = "reprise.dev/promote", "reprise.dev/rollback", "reprise.dev/retry"


def read_requests(annotations: Mapping[str, str], handled: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the requested candidate (``rollback`` also ``baseline``) by annotation, and the handled ones still there.

    A handled annotation is removed. Until then the status lists it, so that an operator that was killed in between
    does not handle it twice.
    """
    names = (PROMOTE, ROLLBACK, RETRY)
    present = {name: value for name in names if (value := annotations.get(name, "").strip())}
    still_there = [entry for entry in handled if entry in map(request_entry, present, present.values())]
    new = {name: value for name, value in present.items() if request_entry(name, value) not in still_there}
    return new, still_there


def request_entry(annotation: str, value: str) -> str:
    """Return a request as ``status.handledRequests`` lists it."""
    return f"{annotation}={value}"
