"""From a status to the routing document that it stands for, and back."""

from collections.abc import Sequence

from reprise.rollout.resource.status import CandidateStatus, RolloutStatus
from reprise.rollout.state_machine.candidate import UNDER_WAY
from reprise.routing import Arm, Ranges, RoutingDocument, Share, allocate


def document_of(rollout: str, status: RolloutStatus) -> RoutingDocument | None:
    """Return the document that is to be published for a status, ``None`` before there is one.

    Args:
        rollout: The resource, namespace/name.
        status: Its status.
    """
    if status.routing is None or status.baseline is None:
        return None
    return RoutingDocument(
        generation=status.routing.generation,
        rollout=rollout,
        salt=status.routing.salt,
        arms=arms_of(status.baseline.digest, status.candidates, status.candidates),
    )


def arms_of(
    baseline: str, candidates: Sequence[CandidateStatus], before: Sequence[CandidateStatus]
) -> tuple[Arm, ...]:
    """Return the arms of candidates with their weights.

    Args:
        baseline: Digest of the baseline.
        candidates: Where the candidates stand, their buckets aside.
        before: Where they stood, with the buckets that they had.
    """
    held = {candidate.name: read_buckets(candidate.buckets) for candidate in before if candidate.weight}
    shares = [
        Share(candidate.name, candidate.digest, candidate.weight, shadow=candidate.phase == "Shadowing")
        for candidate in candidates
        if candidate.phase in UNDER_WAY
    ]
    return allocate(baseline, shares, held)


def write_buckets(ranges: Ranges) -> tuple[str, ...]:
    """Return ranges of buckets as the status has them, ``first-last``."""
    return tuple(f"{first}-{end - 1}" for first, end in ranges)


def read_buckets(texts: Sequence[str]) -> Ranges:
    """Return what :func:`write_buckets` wrote."""
    pairs = (text.split("-") for text in texts)
    return tuple((int(first), int(last) + 1) for first, last in pairs)
