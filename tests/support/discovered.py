"""The repository's definition, and everything that Deep Feature Synthesis makes of it."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from reprise.features.discovery.candidates import Discovery, assemble, discover
from reprise.features.discovery.definition import Definition, load_definition
from reprise.features.discovery.entity_set import TARGETS
from reprise.features.discovery.featuretools_compat import ft, suppress_warnings
from reprise.features.plan import Plan
from support.plans import REPOSITORY


@cache
def definition() -> Definition:
    return load_definition(REPOSITORY)


@cache
def discovery() -> Discovery:
    """Return all that Deep Feature Synthesis makes of the definition."""
    return discover(definition())


@cache
def full_plan() -> Plan:
    """Return the plan of every feature that the compiler accepts, before any selection."""
    return assemble(definition(), discovery().candidates)


def load_saved_features(folder: Path) -> Mapping[str, Sequence[Any]]:
    """Return the Featuretools features of each entity that ``write_plan`` saved."""
    with suppress_warnings():
        return {entity: ft.load_features(str(folder / f"{name}.json")) for entity, name in TARGETS.items()}
