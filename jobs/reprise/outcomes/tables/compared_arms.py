"""The compared arms: those of the routing document, or those that the predictions name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reprise.routing import BASELINE, RoutingDocument, assign
from reprise.sql import literal


@dataclass(frozen=True, slots=True)
class ComparedArm:
    """One arm; ``weight`` is its share of the users in basis points, ``None`` if not known."""

    name: str
    digest: str
    weight: int | None
    shadow: bool


@dataclass(frozen=True, slots=True)
class ComparedArms:
    """The baseline and its candidates."""

    rollout: str | None  # The rollout, namespace/name; ``None`` without a routing document
    baseline: ComparedArm  # The arm that the others are compared with
    candidates: tuple[ComparedArm, ...]  # The others
    # Returns the name of the arm that a user is assigned to; ``None`` if that is not known
    arm_of: Callable[[str], str] | None

    @property
    def arms(self) -> tuple[ComparedArm, ...]:
        """All arms, the baseline first."""
        return (self.baseline, *self.candidates)


def arms_of_document(document: RoutingDocument) -> ComparedArms | None:
    """Return the arms of a routing document, ``None`` if it has none."""
    if document.released:
        return None
    index = assign(document)
    arms = [ComparedArm(arm.name, arm.digest, arm.weight, arm.shadow) for arm in document.arms]
    return ComparedArms(document.rollout, arms[0], tuple(arms[1:]), lambda user: arms[index(user)].name)


def arms_of_predictions(connection: Any) -> ComparedArms | None:
    """Return the arms that the view ``predictions`` names, each with its newest model; ``None`` without a baseline."""
    rows = connection.execute(
        "SELECT arm, arg_max(digest, answered_us), bool_and(shadow) FROM predictions GROUP BY arm ORDER BY arm"
    ).fetchall()
    arms = {name: ComparedArm(name, digest, None, shadow) for name, digest, shadow in rows}
    baseline = arms.pop(BASELINE, None)
    return None if baseline is None else ComparedArms(None, baseline, tuple(arms.values()), None)


def arm_sql(arms: ComparedArms) -> str:
    """Return SQL for the place of the compared arm that made a prediction; null for none."""
    cases = " ".join(
        f"WHEN arm = {literal(arm.name)} AND digest = {literal(arm.digest)} THEN {place}"
        for place, arm in enumerate(arms.arms)
    )
    return f"CASE {cases} END"
