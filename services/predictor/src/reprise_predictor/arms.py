"""The models that answer, and which of them answers whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reprise_predictor.metrics import ArmMetrics
from reprise_predictor.served import ServedModel

BASELINE = "baseline"
"""Name of the arm that users are in who are in no candidate's."""


@dataclass(frozen=True, slots=True)
class ServedArm:
    """An arm that can answer.

    Attributes:
        name: Its name in answers, metrics and the prediction log.
        model: The model that answers for it.
        metrics: Where its answers and failures are counted.
    """

    name: str
    model: ServedModel
    metrics: ArmMetrics


@dataclass(frozen=True, slots=True)
class Routes:
    """Who is answered by which arm, at one moment; requests take it once and use that one throughout.

    Attributes:
        arms: The arms that answer.
        index_of: From a user's id to the position of the arm that the user is in; ``None`` for a single arm.
        shadows: The arms that score what others answer.
    """

    arms: tuple[ServedArm, ...]
    index_of: Callable[[str], int] | None = None
    shadows: tuple[ServedArm, ...] = ()

    def arm(self, user_id: str) -> ServedArm:
        """Return the arm that a user is in."""
        return self.arms[0] if self.index_of is None else self.arms[self.index_of(user_id)]

    def groups(self, user_ids: Sequence[str]) -> list[tuple[ServedArm, list[int]]]:
        """Return the arms that these users are in, each with the positions of its users."""
        if self.index_of is None:
            return [(self.arms[0], list(range(len(user_ids))))]
        positions: dict[int, list[int]] = {}
        index_of = self.index_of
        for position, user_id in enumerate(user_ids):
            positions.setdefault(index_of(user_id), []).append(position)
        return [(self.arms[index], members) for index, members in positions.items()]
