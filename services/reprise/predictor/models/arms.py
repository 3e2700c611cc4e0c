"""The models that answer, and which of them answers whom."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Counter

from reprise.predictor.arm_metrics import ArmMeter
from reprise.predictor.models.loaded_model import ServedModel
from reprise.routing import BASELINE
from reprise.routing.distinct_users import SeenUsers


@dataclass(frozen=True, slots=True)
class ServedArm:
    """An arm that can answer.

    Attributes:
        name: Its name in answers, metrics and the prediction log.
        model: The model that answers for it.
        meter: Where it is measured.
    """

    name: str
    model: ServedModel
    meter: ArmMeter


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which arm each user is in, as a routing document says.

    Attributes:
        index_of: From a user's id to the position of the arm that the user is in.
        seen: Knows the users that have been counted.
        users: Of each arm, counts the users that are assigned to it.
    """

    index_of: Callable[[str], int]
    seen: SeenUsers
    users: tuple[Counter, ...]

    def __call__(self, user_id: str) -> int:
        """Return the position of the arm that a user is in, and count a user who is new."""
        index = self.index_of(user_id)
        if self.seen.is_new(user_id):
            self.users[index].inc()
        return index


@dataclass(frozen=True, slots=True)
class Routes:
    """Who is answered by which arm, at one moment; requests take it once and use that one throughout.

    Attributes:
        arms: The arms that answer, in the document's order, the baseline first; it also stands in the place of
            each arm that cannot answer here.
        assignment: Which of them a user is in; ``None`` where there is but the baseline.
        shadows: The arms that score what others answer.
    """

    arms: tuple[ServedArm, ...]
    assignment: Assignment | None = None
    shadows: tuple[ServedArm, ...] = ()

    @property
    def baseline(self) -> ServedArm:
        """The arm that answers wherever no other does."""
        return self.arms[0]

    def arm(self, user_id: str) -> ServedArm:
        """Return the arm that answers a user."""
        return self.arms[0] if self.assignment is None else self.arms[self.assignment(user_id)]

    def groups(self, user_ids: Sequence[str]) -> list[tuple[ServedArm, Sequence[int]]]:
        """Return the arms that answer these users, each with the positions of its users."""
        if self.assignment is None:
            return [(self.arms[0], range(len(user_ids)))]
        found: dict[str, tuple[ServedArm, list[int]]] = {}
        index_of = {user_id: self.assignment(user_id) for user_id in dict.fromkeys(user_ids)}
        for position, user_id in enumerate(user_ids):
            arm = self.arms[index_of[user_id]]
            found.setdefault(arm.name, (arm, []))[1].append(position)
        return list(found.values())


def only(model: ServedModel, meter: ArmMeter) -> Routes:
    """Return the routes of a single model that answers everybody."""
    return Routes((ServedArm(BASELINE, model, meter),))
