"""The checked-in plan."""

import json
from functools import cache
from pathlib import Path

from reprise.features.plan import Plan

REPOSITORY = Path(__file__).parents[2] / "feature_repo"
PLAN_FILE = REPOSITORY / "plan" / "plan.json"


def with_other_names(plan: Plan) -> Plan:
    """Return the plan of a shop that calls purchases orders, and its dataframe of views pageviews."""
    names = {"purchases": "orders", '"purchase":': '"order":', "views": "pageviews"}
    text = plan.dumps().decode()
    for name, other in names.items():
        text = text.replace(name, other)
    return Plan.from_dict(json.loads(text))


@cache
def checked_in_plan() -> Plan:
    return Plan.load(PLAN_FILE)
