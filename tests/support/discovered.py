"""The repository's definition, and everything that Deep Feature Synthesis makes of it."""

from functools import cache

from reprise.features.discovery.candidates import Discovery, assemble, discover
from reprise.features.discovery.definition import Definition, load_definition
from reprise.features.plan import Plan
from support.plans import REPOSITORY


@cache
def definition() -> Definition:
    """Return the definition of the repository."""
    return load_definition(REPOSITORY)


@cache
def discovery() -> Discovery:
    """Return all that Deep Feature Synthesis makes of the definition."""
    return discover(definition())


@cache
def full_plan() -> Plan:
    """Return the plan of every feature that the compiler accepts, before any selection."""
    return assemble(definition(), discovery().candidates)
