"""The objects that ``feast apply`` registers, from the plan that ``reprise features plan`` wrote."""

import os
from pathlib import Path

from reprise.features.feast.registry_objects import feast_objects
from reprise.features.plan import Plan

# A folder or URL for the files of `reprise features states`; relative to this repository.
_STATES = os.environ.get("REPRISE_STATES", "data/states")

# Feast registers the objects that it finds as attributes of a module.
globals().update(
    {each.name: each for each in feast_objects(Plan.load(Path(__file__).parent / "plan/plan.json"), _STATES)}
)
