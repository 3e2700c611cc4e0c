"""From a published bundle to the candidate of a rollout, if it is not worse than what serves."""

from dataclasses import dataclass
from typing import Literal

from reprise.trainer.exceptions import RolloutConflictError
from reprise.trainer.promotion.baseline_comparison import AgainstBaseline
from reprise.trainer.promotion.candidate import build_candidate_patch, serving_baseline
from reprise.trainer.promotion.rollout_api import RolloutApi

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Proposal:
    """What became of a bundle in a rollout.

    Attributes:
        rollout: The rollout, namespace/name.
        outcome: ``proposed``; ``unchanged``, it is the candidate or the baseline already; or ``refused``, it is worse.
        reason: Why, in words.
        comparison: The evaluation beside the baseline's; None where it is the baseline.
    """

    rollout: str
    outcome: Literal["proposed", "unchanged", "refused"]
    reason: str
    comparison: AgainstBaseline | None


def propose(
    api: RolloutApi,
    namespace: str,
    rollout: str,
    *,
    candidate: str,
    digest: str,
    traffic_percent: float | None,
    comparison: AgainstBaseline | None,
) -> Proposal:
    """Make a bundle the candidate of a rollout, unless it is worse than the baseline.

    Args:
        api: The API server.
        namespace: Of the rollout.
        rollout: Its name.
        candidate: The candidate's name; made where there is none of it.
        digest: The bundle.
        traffic_percent: Its share in the end; by default what it has.
        comparison: The bundle beside the baseline; None where it is the baseline.

    Raises:
        RolloutUnavailableError: The rollout cannot be read or changed.
        RolloutRefusedError: The other candidates leave no share.
    """
    name = f"{namespace}/{rollout}"
    if comparison is None:
        return Proposal(name, "unchanged", "it is the baseline", None)
    if comparison.worse:
        return Proposal(name, "refused", "; ".join(comparison.worse), comparison)
    for attempt in range(_ATTEMPTS):
        resource = api.get(namespace, rollout)
        if serving_baseline(resource) != comparison.baseline:
            reason = (
                "the baseline has changed while it was trained; the next training compares with the new one"
            )
            return Proposal(name, "refused", reason, comparison)
        patch = build_candidate_patch(resource, candidate, digest, traffic_percent)
        if patch is None:
            return Proposal(name, "unchanged", f"it is the candidate {candidate} already", comparison)
        try:
            api.patch(namespace, rollout, patch)
        except RolloutConflictError:
            # somebody else has changed it meanwhile, so it is read anew
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            return Proposal(name, "proposed", f"it is the candidate {candidate} now", comparison)
    raise AssertionError("the last attempt returns or raises")
