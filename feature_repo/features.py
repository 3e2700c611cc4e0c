"""What ``feast apply`` registers; all of it is made from the plan, which ``reprise features plan`` writes."""

import os
from pathlib import Path

from reprise.features.feast.registry_objects import feast_objects
from reprise.features.plan import Plan

# A folder or URL for the files of `reprise features states`; relative to this repository.
_STATES = os.environ.get("REPRISE_STATES", "data/states")

# Feast registers the objects that it finds as attributes of a module.
globals().update(
    {made.name: made for made in feast_objects(Plan.load(Path(__file__).parent / "plan/plan.json"), _STATES)}
)
