"""The arms that are compared: those of the routing document, or those that the predictions name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reprise.routing import BASELINE, RoutingDocument, assign
from reprise.sql import literal


@dataclass(frozen=True, slots=True)
class ComparedArm:
    """One arm.

    Attributes:
        name: The arm's.
        digest: Its model.
        weight: Its share of the users in basis points; None where it is not known.
        shadow: Whether it scores without answering.
    """

    name: str
    digest: str
    weight: int | None
    shadow: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared.

    Attributes:
        rollout: The rollout, namespace/name; None where no routing document says so.
        baseline: The arm that the others are compared with.
        candidates: The others.
        arm_of: From a user to the name of the arm that was assigned; None where that is not known.
    """

    rollout: str | None
    baseline: ComparedArm
    candidates: tuple[ComparedArm, ...]
    arm_of: Callable[[str], str] | None

    @property
    def arms(self) -> tuple[ComparedArm, ...]:
        """All of them, the baseline first."""
        return (self.baseline, *self.candidates)


def from_document(document: RoutingDocument) -> Comparison | None:
    """Return what a routing document compares; None where it has no arms."""
    if document.released:
        return None
    index = assign(document)
    names = [arm.name for arm in document.arms]
    arms = [ComparedArm(arm.name, arm.digest, arm.weight, arm.shadow) for arm in document.arms]
    return Comparison(document.rollout, arms[0], tuple(arms[1:]), lambda user: names[index(user)])


def from_predictions(connection: Any) -> Comparison | None:
    """Return what the predictions themselves compare, each arm with its newest model; None without a baseline.

    Args:
        connection: DuckDB with the view ``predictions``.
    """
    rows = connection.execute(
        "SELECT arm, arg_max(digest, answered_us), bool_and(shadow) FROM predictions GROUP BY arm ORDER BY arm"
    ).fetchall()
    arms = {name: ComparedArm(name, digest, None, shadow) for name, digest, shadow in rows}
    baseline = arms.pop(BASELINE, None)
    return None if baseline is None else Comparison(None, baseline, tuple(arms.values()), None)


def arm_sql(comparison: Comparison) -> str:
    """Return the SQL expression for the compared arm that answered a row of ``predictions``; null for none."""
    cases = " ".join(
        f"WHEN arm = {literal(arm.name)} AND digest = {literal(arm.digest)} THEN {at}"
        for at, arm in enumerate(comparison.arms)
    )
    return f"CASE {cases} END"
