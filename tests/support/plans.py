"""The checked-in plan."""

from functools import cache
from pathlib import Path

from reprise.features.plan import Plan

REPOSITORY = Path(__file__).parents[2] / "feature_repo"
PLAN_FILE = REPOSITORY / "plan" / "plan.json"


@cache
def checked_in_plan() -> Plan:
    """Return the plan of the repository."""
    return Plan.load(PLAN_FILE)
