"""A training run: what it was given, and all that it found."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from reprise.bundle import DataSnapshot, Refit
from reprise.features.plan import Plan
from reprise.trainer.data.history import History
from reprise.trainer.evaluation.buy_again import BuyAgainReport
from reprise.trainer.model.fitted_model import FittedModel
from reprise.trainer.model.horizons import FittedHorizons
from reprise.trainer.settings import TrainerSettings
from reprise.trainer.users.model import FittedUserModel


@dataclass(frozen=True, slots=True)
class Run:
    """One training run."""

    trained_at: datetime  # When it started, UTC
    durations: Mapping[str, float]  # Seconds by step, in the order of the steps
    settings: TrainerSettings
    plan: Plan
    history: History
    model: FittedModel
    refit: Refit  # What the published model was grown and calibrated on
    horizons: FittedHorizons
    ranking: BuyAgainReport | None
    users: FittedUserModel | str  # The users' model, or why there is none

    def age_days(self, instant: str) -> float:
        """Return how long before this run an RFC 3339 time was, in days; negative if it was later."""
        return (self.trained_at - datetime.fromisoformat(instant)) / timedelta(days=1)

    def describe_age(self, data: DataSnapshot) -> str:
        """Return how long before the last event and before this run the newest row was, for people."""
        age = self.age_days(self.refit.newest_row)
        ago = f" and {age:.0f} days before this training" if age > 0 else ""
        return f"{age - self.age_days(data.last):.0f} days before the last event{ago}"
