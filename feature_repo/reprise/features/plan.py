"""The compiled plan: the state per entity, and the feature function of each model input.

``reprise features plan`` writes it, ``plan.json`` is checked in, and every model bundle has a copy. Every executor
reads it; nothing else defines a feature.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import orjson

from reprise.features.accumulators import LATEST_PRODUCTS, Accumulator, accumulator
from reprise.features.exceptions import PlanError
from reprise.features.feature_functions import SQL, Expressions, Spec, Symbol, evaluate, spec_fields
from reprise.features.formulas import evaluate_formula
from reprise.store.feast.view import StateView

PLAN_FORMAT = 1
REQUIRED_INPUTS = (
    "total_spend",
    "avg_transaction_amount",
    "days_since_last_purchase",
    "repeat_purchase_count",
)
"""Inputs of every plan: the prediction API returns them."""

EntityName = Literal["user", "product", "pair"]
ENTITY_NAMES: tuple[EntityName, ...] = ("user", "product", "pair")
_JOIN_KEYS: dict[str, tuple[str, ...]] = {
    "user": ("user_id",),
    "product": ("product_id",),
    "pair": ("user_id", "product_id"),
}
REQUEST_FIELDS = ("timestamp_us", "amount", "is_purchase")
"""What a request has besides its ids: its instant, its own amount, and 1.0 for a purchase, 0.0 for another event."""


@dataclass(frozen=True)
class ModelInput:
    """One input of the model."""

    name: str  # an identifier, unique in the plan
    entity: Literal["user", "product", "pair", "request"]  # whose state it is computed from, or ``request``
    source: str  # the name that Deep Feature Synthesis gave it, or the formula of a request-time input
    unit: str
    description: str
    finish: Spec  # of its feature function, see ``feature_functions.evaluate``; or of a request-time input

    def to_dict(self) -> dict[str, Any]:
        """Return it as data for JSON; its entity is where it stands in the plan."""
        return {name: value for name, value in vars(self).items() if name != "entity"}


@dataclass(frozen=True)
class StateProjection:
    """Some fields of an entity's state: the view with only these, and their values for an entity without events."""

    view: StateView
    empty: tuple[Any, ...]


@dataclass(frozen=True)
class EntityPlan:
    """The state of one entity, and the inputs that are computed from it."""

    name: EntityName
    accumulators: tuple[Accumulator, ...]  # over the entity's events; of users and products also over pairs
    inputs: tuple[ModelInput, ...]
    operands: tuple[ModelInput, ...] = ()  # features that only formulas read

    @property
    def features(self) -> tuple[ModelInput, ...]:
        """All that is computed from its state."""
        return (*self.inputs, *self.operands)

    @cached_property
    def view(self) -> StateView:
        """The Feast feature view that holds this entity's state."""
        fields = tuple(f for a in self.accumulators for f in a.fields)
        return StateView(f"{self.name}_state", _JOIN_KEYS[self.name], fields)

    @cached_property
    def empty(self) -> tuple[Any, ...]:
        """The state of an entity without events, in view order."""
        return tuple(value for a in self.accumulators for value in a.empty)

    @cached_property
    def projection(self) -> StateProjection:
        """The fields that the features are computed from; the other fields only keep the state up to date."""
        used = {name for each in self.features for name in spec_fields(each.finish)}
        fields = self.view.fields
        # A read asks for at least one field.
        positions = [at for at, each in enumerate(fields) if each.name in used] or [0]
        view = StateView(self.view.name, self.view.join_keys, tuple(fields[at] for at in positions))
        return StateProjection(view, tuple(self.empty[at] for at in positions))

    @cached_property
    def latest_products(self) -> Accumulator | None:
        """The accumulator of the user's list of products; None if the plan has none."""
        return next((each for each in self.accumulators if each.spec.get("kind") == LATEST_PRODUCTS), None)

    @cached_property
    def product_list(self) -> StateProjection | None:
        """The list of the user's products; None if the plan has none."""
        kept, view = self.latest_products, self.view
        if kept is None:
            return None
        return StateProjection(StateView(view.name, view.join_keys, kept.fields), kept.empty)

    @cached_property
    def field_index(self) -> dict[str, int]:
        """The position of each field in the state."""
        return {f.name: at for at, f in enumerate(self.view.fields)}


@dataclass(frozen=True)
class Plan:
    """Everything that the executors agree on."""

    frames: Mapping[str, str]  # event dataframe by event type, for instance ``{"purchase": "purchases"}``
    pair_values: Mapping[str, Spec]  # the pair's inner features that users and products aggregate, by name
    user: EntityPlan
    product: EntityPlan
    pair: EntityPlan
    request_inputs: tuple[ModelInput, ...]  # computed from the request, or from other inputs

    @cached_property
    def purchase_frame(self) -> str:
        """The dataframe of the events that the model predicts, that of the user's ``days_since_last_purchase``."""
        spec = next(i.finish for i in self.user.inputs if i.name == "days_since_last_purchase")
        frames = {a.frame for a in self.user.accumulators if spec_fields(spec) & {f.name for f in a.fields}}
        if len(frames) != 1 or None in frames:
            raise PlanError("days_since_last_purchase must be about the events of one dataframe")
        return str(frames.pop())

    @cached_property
    def purchase_type(self) -> str:
        """The type of the events that the model predicts, which the API calls purchases."""
        types = [kind for kind, frame in self.frames.items() if frame == self.purchase_frame]
        if len(types) != 1:
            raise PlanError(f"{self.purchase_frame}: events of one type are predicted, not of {len(types)}")
        return types[0]

    @property
    def entities(self) -> tuple[EntityPlan, EntityPlan, EntityPlan]:
        """The three entities, in the order of the model's inputs."""
        return (self.user, self.product, self.pair)

    @cached_property
    def inputs(self) -> tuple[ModelInput, ...]:
        """Every model input, in order."""
        return (*(i for entity in self.entities for i in entity.inputs), *self.request_inputs)

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """The names of the model's inputs, in order."""
        return tuple(i.name for i in self.inputs)

    def values(
        self, states: Mapping[str, Mapping[str, Symbol]], request: Mapping[str, Symbol]
    ) -> list[Symbol]:
        """Return the value of each input in order, from the fields of the entities' states and of the request.

        Raises:
            PlanError: An input needs what there is not, or a parameter is no finite number.
        """
        t = request["timestamp_us"]
        values = {
            each.name: evaluate(each.finish, states[entity.name], t)
            for entity in self.entities
            for each in entity.features
        }
        for each in self.request_inputs:
            match each.finish:
                case {"kind": "request", "field": field} if field in request:
                    values[each.name] = request[field]
                case {"kind": "formula", "formula": str() as formula}:
                    values[each.name] = evaluate_formula(formula, {**values, "timestamp_us": t})
                # The only formula of earlier releases
                case {"kind": "ratio_of_inputs", "numerator": numerator, "denominator": denominator}:
                    values[each.name] = evaluate_formula(f"{numerator} / {denominator}", values)
                case finish:
                    raise PlanError(f"{each.name}: {dict(finish)} is no input of a request")
        return [values[name] for name in self.input_names]

    @cached_property
    def hash(self) -> str:
        """Sha256 of the plan, hexadecimal."""
        return _sha256(self.to_dict())

    @cached_property
    def schema_hash(self) -> str:
        """Sha256 of what defines the stored state, hexadecimal; its writers and readers must agree on it."""
        document = self.to_dict()
        state = {name: entity["state"] for name, entity in document["entities"].items()}
        stored = {"frames": document["frames"], "pair_values": document["pair_values"], "state": state}
        return _sha256(stored)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as data for JSON, the same for equal plans."""
        return {
            "format": PLAN_FORMAT,
            "frames": dict(self.frames),
            "pair_values": {name: dict(spec) for name, spec in self.pair_values.items()},
            "entities": {
                entity.name: {
                    "state": [dict(each.spec) for each in entity.accumulators],
                    "inputs": [each.to_dict() for each in entity.inputs],
                    # Left out if empty, so that plans of earlier releases keep their hash
                    **({"operands": [each.to_dict() for each in entity.operands]} if entity.operands else {}),
                }
                for entity in self.entities
            },
            "request_inputs": [each.to_dict() for each in self.request_inputs],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Plan":
        """Return the plan of a document, validated.

        Raises:
            PlanError: The format is unknown, or the document is incomplete or inconsistent.
        """
        if not isinstance(document, Mapping):
            raise PlanError(f"a plan is a JSON object, not {type(document).__name__}")
        if document.get("format") != PLAN_FORMAT:
            raise PlanError(f"plan format {document.get('format')!r} is unknown; expected {PLAN_FORMAT}")
        try:
            entities = {
                name: EntityPlan(
                    name=name,
                    accumulators=tuple(accumulator(spec) for spec in document["entities"][name]["state"]),
                    inputs=tuple(ModelInput(entity=name, **i) for i in document["entities"][name]["inputs"]),
                    operands=tuple(
                        ModelInput(entity=name, **i) for i in document["entities"][name].get("operands", ())
                    ),
                )
                for name in ENTITY_NAMES
            }
            plan = cls(
                frames=dict(document["frames"]),
                pair_values=dict(document["pair_values"]),
                **entities,
                request_inputs=tuple(ModelInput(entity="request", **i) for i in document["request_inputs"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(f"the plan is incomplete: {error!r}") from error
        _check(plan)
        return plan

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """Read a plan file.

        Raises:
            PlanError: The file cannot be read, or holds no plan.
        """
        try:
            document = orjson.loads(path.read_bytes())
        except OSError as error:
            raise PlanError(
                f"{path}: cannot be read ({error.strerror}); `reprise features plan` writes it"
            ) from error
        except orjson.JSONDecodeError as error:
            raise PlanError(f"{path}: is not JSON ({error})") from error
        return cls.from_dict(document)

    def dumps(self) -> bytes:
        """Return the plan as indented JSON, as it is checked in."""
        return orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _check(plan: Plan) -> None:
    operands = (operand.name for entity in plan.entities for operand in entity.operands)
    repeated = sorted(name for name, count in Counter([*plan.input_names, *operands]).items() if count > 1)
    if repeated:
        raise PlanError(f"features are named twice: {', '.join(repeated)}")
    missing = [name for name in REQUIRED_INPUTS if name not in plan.input_names]
    if missing:
        raise PlanError(f"the plan lacks inputs that the API promises: {', '.join(missing)}")
    symbols = Expressions(SQL)
    for entity in plan.entities:
        if len(entity.field_index) != len(entity.view.fields):
            raise PlanError(f"{entity.name}: two fields of the state have the same name")
        if entity.latest_products is not None and entity.name != "user":
            raise PlanError(f"{entity.name}: only a user has a list of products")
        for each in entity.accumulators:
            if each.frame is not None and each.frame not in plan.frames.values():
                raise PlanError(
                    f"{entity.name}: {each.id} is over {each.frame!r}, which is no frame of the plan"
                )
            if each.frame is None and entity.name == "pair":
                raise PlanError("the pair's own state cannot be over pairs")
            if each.inner is not None and each.inner not in plan.pair_values:
                raise PlanError(f"{entity.name}: {each.id} needs the pair value {each.inner!r}")
    states = {str(e.name): {f: Symbol(symbols, f) for f in e.field_index} for e in plan.entities}
    plan.values(states, {name: Symbol(symbols, name) for name in REQUEST_FIELDS})
    for spec in plan.pair_values.values():
        evaluate(spec, states["pair"])
    plan.purchase_type  # noqa: B018 - raises


def _sha256(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
