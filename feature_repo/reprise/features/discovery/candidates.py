"""Candidate features: Deep Feature Synthesis over a definition, and the plan of the compiled features."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reprise.features.accumulators import accumulator
from reprise.features.discovery.compiler import CompiledFeature, compile_feature
from reprise.features.discovery.definition import Definition, EntityDefinition
from reprise.features.discovery.entity_set import TARGETS, entity_set
from reprise.features.discovery.featuretools_compat import ft, suppress_warnings
from reprise.features.exceptions import DefinitionError, RefusedFeatureError
from reprise.features.plan import ENTITY_NAMES, PLAN_FORMAT, EntityName, Plan

_INPUT_PARTS = ("source", "unit", "description", "finish")


@dataclass(frozen=True)
class Candidate:
    """A discovered feature that the compiler accepts.

    Attributes:
        name: Its name as a model input.
        named: Whether the definition names it; selection always keeps it.
        compiled: Its accumulators and feature function.
        feature: The Featuretools object, for serialization and for the reference executor.
    """

    name: str
    named: bool
    compiled: CompiledFeature
    feature: Any


@dataclass(frozen=True)
class Refusal:
    """A discovered feature that the compiler refuses, and the reason."""

    entity: EntityName
    source: str
    reason: str


@dataclass(frozen=True)
class Discovery:
    """The discovered features, accepted and refused, and by entity the primitives that apply to no column."""

    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]
    unused: Mapping[EntityName, tuple[str, ...]]


def discover(definition: Definition) -> Discovery:
    """Run Deep Feature Synthesis per entity and compile the features that it finds.

    Raises:
        DefinitionError: A named feature is not discovered, or is refused.
    """
    with suppress_warnings():
        es = entity_set(_example_events(definition.frames), definition.frames)
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    unused: dict[EntityName, tuple[str, ...]] = {}
    wanted = (definition.users, definition.products, definition.user_products)
    for entity, entity_definition in zip(ENTITY_NAMES, wanted, strict=True):
        names = {source: name for name, source in entity_definition.named.items()}
        features = _synthesize(es, entity, entity_definition)
        unused[entity] = _unused(features, entity_definition)
        for feature in features:
            source = feature.get_name()
            try:
                compiled = compile_feature(feature, entity, definition.frames)
            except RefusedFeatureError as refusal:
                refusals.append(Refusal(entity, source, str(refusal)))
                continue
            name = names.get(source, f"{entity}_{_slug(source)}")
            candidates.append(Candidate(name, source in names, compiled, feature))
        _check_named(entity, entity_definition.named, candidates, refusals)
    return Discovery(tuple(candidates), tuple(refusals), unused)


def assemble(definition: Definition, candidates: Iterable[Candidate]) -> Plan:
    """Return the plan of these features, with exactly the state that they need.

    Raises:
        DefinitionError: A ratio refers to an unknown input.
    """
    chosen = list(candidates)
    pair_values: dict[str, Any] = {}
    for candidate in chosen:
        pair_values.update(candidate.compiled.pair_values)
    names = {candidate.name for candidate in chosen} | set(definition.request)
    for name, ratio in definition.ratios.items():
        for part in (ratio.numerator, ratio.denominator):
            if part not in names:
                raise DefinitionError(f"ratio {name!r}: {part!r} is no input; name it in `named` to keep it")
    return Plan.from_dict(
        {
            "format": PLAN_FORMAT,
            "frames": definition.frames,
            "pair_values": dict(sorted(pair_values.items())),
            "entities": {entity: _entity(entity, chosen) for entity in ENTITY_NAMES},
            "request_inputs": list(_request_inputs(definition)),
        }
    )


def _entity(entity: EntityName, candidates: Sequence[Candidate]) -> dict[str, Any]:
    own = [c for c in candidates if c.compiled.entity == entity]
    specs = [spec for c in own for spec in c.compiled.state]
    if entity == "pair":
        specs += [spec for c in candidates for spec in c.compiled.pair_state]
    accumulators = {a.id: a for a in map(accumulator, specs)}
    in_order = sorted(accumulators.values(), key=lambda a: (a.frame is None, a.id))
    return {
        "state": [a.spec for a in in_order],
        "inputs": [
            {"name": c.name, **{part: getattr(c.compiled, part) for part in _INPUT_PARTS}} for c in own
        ],
    }


def _request_inputs(definition: Definition) -> Iterable[dict[str, Any]]:
    for name, field in definition.request.items():
        yield {
            "name": name,
            "source": f"request.{field}",
            "unit": "currency" if field == "amount" else "0 or 1",
            "description": f"the request's own {field.replace('_', ' ')}",
            "finish": {"kind": "request", "field": field},
        }
    for name, ratio in definition.ratios.items():
        parts = {"numerator": ratio.numerator, "denominator": ratio.denominator}
        yield {
            "name": name,
            "source": f"{ratio.numerator} / {ratio.denominator}",
            "unit": "ratio",
            "description": ratio.description,
            "finish": {"kind": "ratio_of_inputs", **parts},
        }


def _synthesize(es: ft.EntitySet, entity: EntityName, definition: EntityDefinition) -> list[Any]:
    with suppress_warnings():
        features: list[Any] = ft.dfs(
            entityset=es,
            target_dataframe_name=TARGETS[entity],
            features_only=True,
            max_depth=definition.max_depth,
            agg_primitives=list(definition.aggregations),
            trans_primitives=list(definition.transforms),
        )
    return features


def _unused(features: Iterable[Any], definition: EntityDefinition) -> tuple[str, ...]:
    used = {part.primitive.name for f in features for part in (f, *f.get_dependencies(deep=True))}
    names = dict.fromkeys(p.name for p in (*definition.aggregations, *definition.transforms))
    return tuple(name for name in names if name not in used)


def _check_named(
    entity: EntityName, named: Mapping[str, str], candidates: Sequence[Candidate], refusals: Sequence[Refusal]
) -> None:
    found = {c.compiled.source for c in candidates if c.compiled.entity == entity}
    reasons = {r.source: r.reason for r in refusals if r.entity == entity}
    for name, source in named.items():
        if source in reasons:
            raise DefinitionError(f"{name!r} of {TARGETS[entity]}: {source} is refused: {reasons[source]}")
        if source not in found:
            raise DefinitionError(
                f"{name!r} of {TARGETS[entity]}: Deep Feature Synthesis does not find {source!r};"
                " is its primitive in the definition, and is max_depth large enough?"
            )


def _example_events(frames: Mapping[str, str]) -> pd.DataFrame:
    """Return one event per dataframe; discovery looks at column types only."""
    rows = [
        {
            "user_id": "user",
            "product_id": "product",
            "event_type": event_type,
            "timestamp": pd.Timestamp("2026-01-01"),
            "amount": None if event_type == "view" else 1.0,
            "event_key": key,
        }
        for key, event_type in enumerate(frames)
    ]
    return pd.DataFrame(rows)


def _slug(source: str) -> str:
    """Return an identifier for a Featuretools feature name."""
    text = source.lower().replace(">", " above ").replace("unit=", " ")
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")
