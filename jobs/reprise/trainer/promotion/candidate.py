"""The candidate of a ``ModelRollout``: a published bundle, unless it is worse than what serves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from reprise.trainer.exceptions import RolloutConflictError, RolloutRefusedError
from reprise.trainer.promotion.baseline_comparison import BaselineComparison
from reprise.trainer.promotion.rollout_api import RolloutApi

_DEFAULT_PERCENT = 50.0
_ALL_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """What became of a bundle in a rollout."""

    rollout: str  # The rollout, namespace/name
    # ``proposed``; ``unchanged``, it already is the candidate or the baseline; ``refused``, it is worse
    # or cannot be compared
    outcome: Literal["proposed", "unchanged", "refused"]
    reason: str  # The reason, for people
    comparison: BaselineComparison | None  # Comparison with the baseline; None if the bundle is the baseline


@retry(retry=retry_if_exception_type(RolloutConflictError), stop=stop_after_attempt(5), reraise=True)
def propose(
    api: RolloutApi,
    candidate: str,
    digest: str,
    traffic_percent: float | None,
    comparison: BaselineComparison | None,
) -> Proposal:
    """Make a bundle the candidate of a rollout, unless the comparison with the baseline objects.

    ``candidate`` is added if the rollout has none of this name. See ``build_candidate_patch`` for its traffic. Without
    a ``comparison`` the bundle is the baseline.

    Raises:
        RolloutUnavailableError: The rollout cannot be read or changed.
        RolloutConflictError: The rollout changed between read and write, on every attempt.
        RolloutRefusedError: The other candidates leave no traffic.
    """
    if comparison is None:
        return Proposal(api.name, "unchanged", "it is the baseline", None)
    if comparison.objections:
        return Proposal(api.name, "refused", "; ".join(comparison.objections), comparison)
    resource = api.get()
    if serving_baseline(resource) != comparison.baseline:
        reason = "the baseline has changed during the training; the next training compares with the new one"
        return Proposal(api.name, "refused", reason, comparison)
    patch = build_candidate_patch(resource, candidate, digest, traffic_percent)
    if patch is None:
        return Proposal(api.name, "unchanged", f"it already is the candidate {candidate!r}", comparison)
    api.patch(patch)
    return Proposal(api.name, "proposed", f"it is now the candidate {candidate!r}", comparison)


def serving_baseline(resource: Mapping[str, Any]) -> str:
    """Return the digest of the model that serves as a rollout's baseline.

    It is the promoted one, unless ``spec.baseline`` changed since the promotion.

    Raises:
        RolloutRefusedError: The resource names no baseline.
    """
    wanted: str | None = resource.get("spec", {}).get("baseline", {}).get("digest")
    if wanted is None:
        raise RolloutRefusedError(_name(resource), "it has no spec.baseline.digest")
    serving = resource.get("status", {}).get("baseline", {})
    promoted: str = serving["digest"] if serving.get("specDigest") == wanted else wanted
    return promoted


def build_candidate_patch(
    resource: Mapping[str, Any], name: str, digest: str, traffic_percent: float | None
) -> dict[str, Any] | None:
    """Return the JSON merge patch that makes a bundle the rollout's candidate; None if it already is.

    Other fields of an existing candidate stay. The patch holds the ``resourceVersion`` it was made from, so that a
    change in between is a conflict. Without a final ``traffic_percent`` the candidate keeps its own, and a new one gets
    50 or what the other candidates leave.

    Raises:
        RolloutRefusedError: The other candidates leave no traffic.
    """
    candidates = [dict(candidate) for candidate in resource["spec"].get("candidates", [])]
    others = sum(
        candidate.get("trafficPercent", _DEFAULT_PERCENT)
        for candidate in candidates
        if candidate["name"] != name and not candidate.get("shadow", False)
    )
    entry = next((candidate for candidate in candidates if candidate["name"] == name), None)
    if entry is None:
        entry = {"name": name, "trafficPercent": min(_DEFAULT_PERCENT, _ALL_PERCENT - others)}
        candidates.append(entry)
    before = dict(entry)
    entry["digest"] = digest
    if traffic_percent is not None:
        entry["trafficPercent"] = traffic_percent
    if not entry.get("shadow", False):
        percent = entry.get("trafficPercent", _DEFAULT_PERCENT)
        if percent <= 0 or others + percent > _ALL_PERCENT:
            raise RolloutRefusedError(
                _name(resource),
                f"the other candidates have {others:g}% of the users, so that {name} cannot have {percent:g}%",
            )
    if entry == before:
        return None
    version = resource["metadata"]["resourceVersion"]
    return {"metadata": {"resourceVersion": version}, "spec": {"candidates": candidates}}


def _name(resource: Mapping[str, Any]) -> str:
    metadata = resource.get("metadata", {})
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
