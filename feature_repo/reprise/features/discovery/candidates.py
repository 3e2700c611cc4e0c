"""Candidate features: Deep Feature Synthesis over a definition, and the plan of the compiled features."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reprise.features.accumulators import LATEST_PRODUCTS, accumulator
from reprise.features.discovery.compiler import Compiled, compile_feature
from reprise.features.discovery.definition import Definition
from reprise.features.discovery.entity_set import TARGETS, entity_set
from reprise.features.discovery.featuretools_compat import ft, suppress_warnings
from reprise.features.exceptions import DefinitionError, RefusedFeatureError
from reprise.features.formulas import formula_names
from reprise.features.plan import ENTITY_NAMES, PLAN_FORMAT, EntityName, Plan


@dataclass(frozen=True)
class Candidate:
    """A discovered feature that the compiler accepts."""

    entity: EntityName
    source: str  # the name that Deep Feature Synthesis gave it
    name: str  # its name as a model input
    named: bool  # whether the definition names it; selection always keeps it
    operand: bool  # whether only formulas read it, so it is no input
    compiled: Compiled
    feature: Any  # the Featuretools object, for serialization and for the reference executor


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
        DefinitionError: A named feature is not discovered, is refused, or is also an operand.
    """
    with suppress_warnings():
        es = _example(definition.frames)
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    unused: dict[EntityName, tuple[str, ...]] = {}
    wanted = (definition.users, definition.products, definition.user_products)
    for entity, part in zip(ENTITY_NAMES, wanted, strict=True):
        wanted_names = {**part.named, **part.operands}
        names = {source: name for name, source in wanted_names.items()}
        operands = set(part.operands.values())
        if both := sorted(operands.intersection(part.named.values())):
            raise DefinitionError(
                f"{both[0]} of {TARGETS[entity]} is in `named` and in `operands`; keep it in `named`"
            )
        with suppress_warnings():
            features = ft.dfs(
                entityset=es,
                target_dataframe_name=TARGETS[entity],
                features_only=True,
                max_depth=part.max_depth,
                agg_primitives=list(part.aggregations),
                trans_primitives=list(part.transforms),
            )
        used = {each.primitive.name for f in features for each in (f, *f.get_dependencies(deep=True))}
        primitives = dict.fromkeys(p.name for p in (*part.aggregations, *part.transforms))
        unused[entity] = tuple(name for name in primitives if name not in used)
        for feature in features:
            source = feature.get_name()
            try:
                compiled = compile_feature(feature, entity, definition.frames)
            except RefusedFeatureError as refusal:
                refusals.append(Refusal(entity, source, str(refusal)))
                continue
            name = names.get(source, f"{entity}_{_slug(source)}")
            candidates.append(
                Candidate(entity, source, name, source in names, source in operands, compiled, feature)
            )
        _check_named(entity, wanted_names, candidates, refusals)
    return Discovery(tuple(candidates), tuple(refusals), unused)


def assemble(definition: Definition, candidates: Iterable[Candidate]) -> Plan:
    """Return the plan of these features, with exactly the state that they need.

    Raises:
        DefinitionError: A formula reads an unknown feature, or comes before what it reads.
    """
    chosen = list(candidates)
    pair_values = {name: spec for c in chosen for name, spec in c.compiled.pair_values.items()}
    known = {candidate.name for candidate in chosen} | set(definition.request) | {"timestamp_us"}
    for name, each in definition.formulas.items():
        unknown = sorted(formula_names(each.formula) - known)
        if unknown:
            raise DefinitionError(
                f"{name!r} = {each.formula}: there is no feature {unknown[0]!r} before it;"
                " give it that name in `named` or `operands`"
            )
        known.add(name)
    return Plan.from_dict(
        {
            "format": PLAN_FORMAT,
            "frames": definition.frames,
            "pair_values": dict(sorted(pair_values.items())),
            "entities": {entity: _entity(entity, chosen, definition) for entity in ENTITY_NAMES},
            "request_inputs": list(_request_inputs(definition)),
        }
    )


def _entity(entity: EntityName, candidates: Sequence[Candidate], definition: Definition) -> dict[str, Any]:
    own = [c for c in candidates if c.entity == entity]
    specs = [spec for c in own for spec in c.compiled.state]
    if entity == "user":
        since = [c.compiled.state[0] for c in own if c.name == "days_since_last_purchase"]
        limit = definition.latest_products
        specs += [{"kind": LATEST_PRODUCTS, "frame": each["frame"], "limit": limit} for each in since]
    if entity == "pair":
        specs += [spec for c in candidates for spec in c.compiled.pair_state]
    accumulators = {a.id: a for a in map(accumulator, specs)}
    in_order = sorted(accumulators.values(), key=lambda a: (a.frame is None, a.id))

    def features(*, operands: bool) -> list[dict[str, Any]]:
        return [
            {
                "name": c.name,
                "source": c.source,
                "unit": c.compiled.unit,
                "description": str(ft.describe_feature(c.feature)),
                "finish": c.compiled.finish,
            }
            for c in own
            if c.operand == operands
        ]

    return {
        "state": [a.spec for a in in_order],
        "inputs": features(operands=False),
        "operands": features(operands=True),
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
    for name, each in definition.formulas.items():
        yield {
            "name": name,
            "source": each.formula,
            "unit": each.unit,
            "description": each.description,
            "finish": {"kind": "formula", "formula": each.formula},
        }


def _example(frames: Mapping[str, str]) -> ft.EntitySet:
    events = {
        "user_id": "user",
        "product_id": "product",
        "event_type": list(frames),
        "timestamp": pd.to_datetime(["2026-01-01"] * len(frames)),
        "amount": 1.0,
        "event_key": range(len(frames)),
    }
    return entity_set(pd.DataFrame(events), frames)


def _check_named(
    entity: EntityName, named: Mapping[str, str], candidates: Sequence[Candidate], refusals: Sequence[Refusal]
) -> None:
    found = {c.source for c in candidates if c.entity == entity}
    reasons = {r.source: r.reason for r in refusals if r.entity == entity}
    for name, source in named.items():
        if source in reasons:
            raise DefinitionError(f"{name!r} of {TARGETS[entity]}: {source} is refused: {reasons[source]}")
        if source not in found:
            raise DefinitionError(
                f"{name!r} of {TARGETS[entity]}: Deep Feature Synthesis does not find {source!r};"
                " is its primitive in the definition, and is max_depth large enough?"
            )


def _slug(source: str) -> str:
    text = source.lower().replace(">", " above ").replace("unit=", " ")
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")
