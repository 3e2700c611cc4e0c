"""The arms of a rollout that this process has loaded, and the assignment of users to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Counter

from reprise.predictor.metrics import ArmMeter
from reprise.predictor.models.loaded_model import LoadedModel
from reprise.routing import DistinctUsers


@dataclass(frozen=True, slots=True)
class LoadedArm:
    """An arm whose model is loaded; responses, metrics and the prediction log have its name."""

    name: str
    model: LoadedModel
    meter: ArmMeter


@dataclass(frozen=True, slots=True)
class Assignment:
    """Assigns users to arms as a routing document says, and counts each user once for the user's arm."""

    index_of: Callable[[str], int]
    counted: DistinctUsers
    users: tuple[Counter, ...]

    def __call__(self, user_id: str) -> int:
        """Return the position of a user's arm."""
        index = self.index_of(user_id)
        if self.counted.is_new(user_id):
            self.users[index].inc()
        return index


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Which arm answers which user. It is replaced as a whole, so a request takes it once and keeps it.

    Attributes:
        arms: The arms in the document's order, the baseline first; the baseline stands in for an arm that is not
            loaded here.
        assignment: Assigns users to positions in ``arms``; ``None`` if the baseline answers everybody.
        shadows: The arms that score shadow traffic.
    """

    arms: tuple[LoadedArm, ...]
    assignment: Assignment | None = None
    shadows: tuple[LoadedArm, ...] = ()

    @property
    def baseline(self) -> LoadedArm:
        """The baseline."""
        return self.arms[0]

    def arm_of(self, user_id: str) -> LoadedArm:
        """Return the arm that answers a user."""
        return self.arms[0] if self.assignment is None else self.arms[self.assignment(user_id)]

    def group_by_arm(self, user_ids: Sequence[str]) -> list[tuple[LoadedArm, Sequence[int]]]:
        """Return the arms that answer these users, each with the positions of its users."""
        if self.assignment is None:
            return [(self.arms[0], range(len(user_ids)))]
        groups: dict[str, tuple[LoadedArm, list[int]]] = {}
        index_of = {user_id: self.assignment(user_id) for user_id in dict.fromkeys(user_ids)}
        for position, user_id in enumerate(user_ids):
            arm = self.arms[index_of[user_id]]
            groups.setdefault(arm.name, (arm, []))[1].append(position)
        return list(groups.values())
