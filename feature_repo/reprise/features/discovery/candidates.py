"""Deep Feature Synthesis over the definition, and the plan that its compiled features make."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reprise.features.accumulators.event_accumulators import accumulator
from reprise.features.accumulators.pair_accumulators import pair_accumulator
from reprise.features.discovery.compiler import CompiledFeature, compile_feature
from reprise.features.discovery.definition import Definition, EntityDefinition
from reprise.features.discovery.entity_set import TARGETS, entity_set
from reprise.features.discovery.featuretools_compat import ft, suppress_warnings
from reprise.features.exceptions import DefinitionError, RefusedFeatureError
from reprise.features.plan import ENTITY_NAMES, EntityName, EntityPlan, ModelInput, Plan


@dataclass(frozen=True)
class Candidate:
    """A discovered feature that the compiler accepts.

    Attributes:
        name: Its name as a model input.
        named: Whether the definition names it, so that it is kept in any case.
        compiled: What keeps and finishes it.
        feature: Featuretools' own object, for its serialization and for the reference executor.
    """

    name: str
    named: bool
    compiled: CompiledFeature
    feature: Any


@dataclass(frozen=True)
class Refusal:
    """A discovered feature that the compiler refuses, and why."""

    entity: EntityName
    source: str
    reason: str


@dataclass(frozen=True)
class Discovery:
    """Everything that Deep Feature Synthesis found.

    Attributes:
        candidates: The features that the compiler accepts.
        refusals: Those that it refuses.
        unused: Primitives of the definition that found nothing to apply to, by entity.
    """

    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]
    unused: Mapping[EntityName, tuple[str, ...]]


def discover(definition: Definition) -> Discovery:
    """Run Deep Feature Synthesis per entity and compile what it finds.

    Raises:
        DefinitionError: A named feature is not discovered, or is refused.
    """
    with suppress_warnings():
        es = entity_set(_sample(definition.frames), definition.frames)
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    unused: dict[EntityName, tuple[str, ...]] = {}
    for entity in ENTITY_NAMES:
        wanted = entity_definition(definition, entity)
        names = {source: name for name, source in wanted.named.items()}
        features = _synthesize(es, entity, wanted)
        unused[entity] = _unused(features, wanted)
        for feature in features:
            source = feature.get_name()
            try:
                compiled = compile_feature(feature, entity, definition.frames)
            except RefusedFeatureError as refusal:
                refusals.append(Refusal(entity, source, str(refusal)))
                continue
            name = names.get(source, f"{entity}_{_slug(source)}")
            candidates.append(Candidate(name, source in names, compiled, feature))
        _check_named(entity, wanted.named, candidates, refusals)
    return Discovery(tuple(candidates), tuple(refusals), unused)


def entity_definition(definition: Definition, entity: EntityName) -> EntityDefinition:
    """Return what the definition says of one entity."""
    return {"user": definition.users, "product": definition.products, "pair": definition.user_products}[
        entity
    ]


def assemble(definition: Definition, candidates: Iterable[Candidate]) -> Plan:
    """Return the plan of these features, with exactly the state that they need.

    Raises:
        DefinitionError: A request-time ratio refers to an input that is not there.
    """
    kept = list(candidates)
    pair_values: dict[str, Mapping[str, Any]] = {}
    for candidate in kept:
        pair_values.update(candidate.compiled.pair_values)
    entities = {entity: _entity_plan(entity, kept) for entity in ENTITY_NAMES}
    names = {candidate.name for candidate in kept} | set(definition.request)
    for name, ratio in definition.ratios.items():
        for part in (ratio.numerator, ratio.denominator):
            if part not in names:
                raise DefinitionError(f"ratio {name!r}: {part!r} is no input; name it in `named` to keep it")
    document = Plan(
        frames=definition.frames,
        pair_values=dict(sorted(pair_values.items())),
        user=entities["user"],
        product=entities["product"],
        pair=entities["pair"],
        request_inputs=tuple(_request_inputs(definition)),
    ).to_dict()
    return Plan.from_dict(document)


def _entity_plan(entity: EntityName, kept: Sequence[Candidate]) -> EntityPlan:
    own = [c for c in kept if c.compiled.entity == entity]
    specs = [spec for c in own for spec in c.compiled.state]
    if entity == "pair":
        specs += [spec for c in kept for spec in c.compiled.pair_state]
    over_events = {a.id: a for a in map(accumulator, (s for s in specs if "frame" in s))}
    over_pairs = {a.id: a for a in map(pair_accumulator, (s for s in specs if "frame" not in s))}
    return EntityPlan(
        name=entity,
        accumulators=tuple(over_events[key] for key in sorted(over_events)),
        pair_accumulators=tuple(over_pairs[key] for key in sorted(over_pairs)),
        inputs=tuple(
            ModelInput(
                name=c.name,
                entity=entity,
                source=c.compiled.source,
                unit=c.compiled.unit,
                description=c.compiled.description,
                finish=c.compiled.finish,
            )
            for c in own
        ),
    )


def _request_inputs(definition: Definition) -> Iterable[ModelInput]:
    for name, field in definition.request.items():
        yield ModelInput(
            name=name,
            entity="request",
            source=f"request.{field}",
            unit="currency" if field == "amount" else "0 or 1",
            description=f"the request's own {field.replace('_', ' ')}",
            finish={"kind": "request", "field": field},
        )
    for name, ratio in definition.ratios.items():
        yield ModelInput(
            name=name,
            entity="request",
            source=f"{ratio.numerator} / {ratio.denominator}",
            unit="ratio",
            description=ratio.description,
            finish={
                "kind": "ratio_of_inputs",
                "numerator": ratio.numerator,
                "denominator": ratio.denominator,
            },
        )


def _synthesize(es: ft.EntitySet, entity: EntityName, wanted: EntityDefinition) -> list[Any]:
    with suppress_warnings():
        features: list[Any] = ft.dfs(
            entityset=es,
            target_dataframe_name=TARGETS[entity],
            features_only=True,
            max_depth=wanted.max_depth,
            agg_primitives=list(wanted.aggregations),
            trans_primitives=list(wanted.transforms),
        )
    return features


def _unused(features: Iterable[Any], wanted: EntityDefinition) -> tuple[str, ...]:
    used = {part.primitive.name for f in features for part in (f, *f.get_dependencies(deep=True))}
    asked = dict.fromkeys(p.name for p in (*wanted.aggregations, *wanted.transforms))
    return tuple(name for name in asked if name not in used)


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


def _sample(frames: Mapping[str, str]) -> pd.DataFrame:
    """Return the fewest events that give every dataframe its columns; discovery looks at types only."""
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
    """Return a simple identifier for a Featuretools feature name; the comparison signs stay apart."""
    text = source.lower().replace(">", " above ").replace("unit=", " ")
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")
