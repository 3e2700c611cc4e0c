"""The plan as Feast objects: entities, a view per state, the on-demand view of the model's inputs, and services."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeAlias

from feast import Entity, FeatureService, FeatureView, Field, FileSource, OnDemandFeatureView, RequestSource
from feast.types import Bytes, FeastType, Float64, Int64, String
from feast.value_type import ValueType

from reprise.features.feast.on_demand_view import load_udf, udf_source
from reprise.features.feast.state_files import EVENT_TIMESTAMP, state_file_name
from reprise.features.plan import REQUEST_FIELDS, Plan
from reprise.store.feast.view import WATERMARKS, FieldKind, StateView

FEATURES = "features"
"""Name of the on-demand view."""

SERVICE = "reprise"
"""Name of the service of the last applied plan."""

FeastObject: TypeAlias = Entity | FeatureView | OnDemandFeatureView | FeatureService

_TYPES: dict[FieldKind, FeastType] = {"int64": Int64, "double": Float64, "bytes": Bytes}
# State is never stale. With a time to live of zero the first `materialize-incremental` would begin a year ago, and
# leave out entities without events since.
_UNLIMITED = timedelta(days=200 * 365)


def service_name(plan: Plan) -> str:
    """Return the name of the feature service of exactly this plan."""
    return f"{SERVICE}_{plan.hash[:12]}"


def feast_objects(plan: Plan, states: str) -> list[FeastObject]:
    """Return the objects that ``feast apply`` registers for a plan; their names are unique.

    ``states`` is the folder or URL of the state files; a relative one starts at the repository.
    """
    keys = dict.fromkeys(key for entity in plan.entities for key in entity.view.join_keys)
    entities = {
        key: Entity(name=key.removesuffix("_id"), join_keys=[key], value_type=ValueType.STRING)
        for key in keys
    }
    views = [
        _state_view(entity.view, [entities[k] for k in entity.view.join_keys], states)
        for entity in plan.entities
    ]
    features = _features(plan, views)
    # Feast's file store keeps one row per instant and join keys of the views joined so far, so the view with the most
    # join keys comes first. The three watermark fields share a name, so Feast insists on full names.
    joined = sorted(views, key=lambda view: len(view.entities), reverse=True)
    served = [*(view[[WATERMARKS]] for view in joined), features]
    tags = {"plan": plan.hash, "schema": plan.schema_hash}
    services = [
        FeatureService(name=name, features=served, tags=tags, description=f"Every model input, by {which}.")
        for name, which in ((SERVICE, "the plan applied last"), (service_name(plan), "exactly this plan"))
    ]
    return [*entities.values(), *views, features, *services]


def _state_view(view: StateView, entities: Sequence[Entity], states: str) -> FeatureView:
    return FeatureView(
        name=view.name,
        entities=list(entities),
        schema=[
            *(Field(name=key, dtype=String) for key in view.join_keys),
            *(Field(name=field.name, dtype=_TYPES[field.kind]) for field in view.fields),
            Field(name=WATERMARKS, dtype=Bytes),
        ],
        source=FileSource(
            name=f"{view.name}_rows",
            path=f"{states.rstrip('/')}/{state_file_name(view)}",
            timestamp_field=EVENT_TIMESTAMP,
        ),
        ttl=_UNLIMITED,
    )


def _features(plan: Plan, views: Sequence[FeatureView]) -> OnDemandFeatureView:
    source = udf_source(plan)
    fields = [[field.name for field in entity.projection.view.fields] for entity in plan.entities]
    types = dict(zip(REQUEST_FIELDS, (Int64, Float64, Float64), strict=True))
    request = RequestSource(
        name="request", schema=[Field(name=name, dtype=feast_type) for name, feast_type in types.items()]
    )
    return OnDemandFeatureView(
        name=FEATURES,
        sources=[*(view[names] for view, names in zip(views, fields, strict=True)), request],
        schema=[Field(name=name, dtype=Float64) for name in plan.input_names],
        udf=load_udf(source),
        udf_string=source,
        mode="pandas",
        tags={"plan": plan.hash},
        description="The model's inputs, computed from the states at the request's instant.",
    )
