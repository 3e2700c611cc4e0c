"""The candidate of a ``ModelRollout``: which resource is to become what."""

from collections.abc import Mapping
from typing import Any

from reprise.trainer.exceptions import RolloutRefusedError

_DEFAULT_PERCENT = 50.0
_WHOLE = 100.0


def serving_baseline(resource: Mapping[str, Any]) -> str:
    """Return the digest of the model that serves as a rollout's baseline.

    It is the promoted one, unless ``spec.baseline`` was changed since.

    Raises:
        RolloutRefusedError: The resource names no baseline.
    """
    asked: str | None = resource.get("spec", {}).get("baseline", {}).get("digest")
    if asked is None:
        raise RolloutRefusedError(_name(resource), "it has no spec.baseline.digest")
    serving = resource.get("status", {}).get("baseline", {})
    if serving.get("specDigest") == asked:
        promoted: str = serving["digest"]
        return promoted
    return asked


def build_candidate_patch(
    resource: Mapping[str, Any], name: str, digest: str, traffic_percent: float | None
) -> dict[str, Any] | None:
    """Return the JSON merge patch that makes a bundle the rollout's candidate; None where it is already.

    What people have set of an existing candidate stays. The patch holds the version of the resource that it was made
    from, so that a change by somebody else in between is a conflict and not overwritten.

    Args:
        resource: The ``ModelRollout``.
        name: The candidate's name.
        digest: Its bundle.
        traffic_percent: Its share in the end; by default what it has, and of a new one what the others leave
            of 50.

    Raises:
        RolloutRefusedError: The other candidates leave no share.
    """
    candidates = [dict(candidate) for candidate in resource["spec"].get("candidates", [])]
    others = sum(
        candidate.get("trafficPercent", _DEFAULT_PERCENT)
        for candidate in candidates
        if candidate["name"] != name and not candidate.get("shadow", False)
    )
    entry = next((candidate for candidate in candidates if candidate["name"] == name), None)
    if entry is None:
        entry = {"name": name, "trafficPercent": min(_DEFAULT_PERCENT, _WHOLE - others)}
        candidates.append(entry)
    before = dict(entry)
    entry["digest"] = digest
    if traffic_percent is not None:
        entry["trafficPercent"] = traffic_percent
    if not entry.get("shadow", False):
        percent = entry.get("trafficPercent", _DEFAULT_PERCENT)
        if percent <= 0 or others + percent > _WHOLE:
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
