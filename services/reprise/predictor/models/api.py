"""The contract of the HTTP API: the bodies of requests and responses, their constraints and their documentation.

msgspec decodes, validates and describes the bodies of predictions. Their responses are dictionaries, because orjson
encodes those fastest. What FastAPI serves are pydantic models, as the parts of a model's manifest are.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

import msgspec
from msgspec import Meta, Struct
from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict, is_typeddict

from reprise.bundle import DataSnapshot, Evaluation, HorizonModel, KindVerdict, Parity
from reprise.events import InvalidEventError, parse_timestamp
from reprise.events.event import MAX_AMOUNT, MAX_ID_LENGTH
from reprise.http.openapi import REFERENCE
from reprise.http.problems import ProblemDocument

VIEW = "view"
MAX_EXPLAINED = 100
"""Maximum requests of a batch that asks for contributions."""
ID_PATTERN = r"^[^\u0000]+$"
ID_DESCRIPTION = "Opaque id without NUL characters."
_DIGEST = "sha256:" + "0123456789abcdef" * 4
_NOW = "2026-01-31T12:00:00Z"
_REQUIRED_FEATURES = {
    "total_spend": 180.5,
    "avg_transaction_amount": 36.1,
    "days_since_last_purchase": 4.25,
    "repeat_purchase_count": 2.0,
}


_CONTRIBUTIONS = {
    "base": 0.5,
    "votes": 0.63,
    "top": [
        {
            "name": "days_since_last_purchase",
            "value": 4.25,
            "contribution": 0.08,
            "description": "Days since the user's last purchase.",
            "unit": "days",
        }
    ],
    "others": 0.05,
}


class Timestamp(int):
    """Microseconds since 1970-01-01 UTC; in JSON RFC 3339 with an offset."""


def _about(description: str | None, *examples: Any, **constraints: Any) -> Meta:
    return Meta(description=description, examples=list(examples), **constraints)


# msgspec's own pattern costs 1 µs for each id, so __post_init__ looks for the NUL.
Identifier = Annotated[
    str, Meta(min_length=1, max_length=MAX_ID_LENGTH, extra_json_schema={"pattern": ID_PATTERN})
]
UserId = Annotated[Identifier, _about(ID_DESCRIPTION, "u-1042")]
ProductId = Annotated[Identifier, _about(ID_DESCRIPTION, "p-17")]
FeatureValue = Annotated[float | None, Field(description="Null if the feature is missing.")]


class PredictionRequest(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """Will this user buy this product (again) within the horizon?

    The online store holds present state only, so ``timestamp`` has to be close to now, by default within five
    minutes. It allows for the client's clock. If the state has an event after ``timestamp``, times since that
    event are zero.
    """

    user_id: UserId
    product_id: ProductId
    event_type: str | None = None
    amount: Annotated[
        Annotated[float, Meta(ge=0, le=MAX_AMOUNT)] | None,
        _about(
            "Amount of the event at hand, in the shop's currency; needs an event_type, null for a view.", 19.9
        ),
    ] = None
    event_id: Annotated[Identifier | None, _about("Id of the event at hand; needs an event_type.", "e-7")] = (
        None
    )
    timestamp: Annotated[Timestamp | None, _about("Request time; now by default.", _NOW)] = None

    def __post_init__(self) -> None:
        # The test costs a tenth of the function.
        amount, event_id = self.amount, self.event_id
        if "\0" in self.user_id or "\0" in self.product_id or amount is not None or event_id is not None:
            faults = contract_faults(self.user_id, self.product_id, self.event_type, amount, event_id)
            if faults:
                raise ValueError(str(faults))


def contract_faults(
    user_id: str = "",
    product_id: str = "",
    event_type: str | None = None,
    amount: float | None = None,
    event_id: str | None = None,
    product_ids: Sequence[str] = (),
) -> dict[str, str]:
    """Return what was expected of each field that is at fault by a rule that its type does not say."""
    ids = {"user_id": user_id, "product_id": product_id, "event_id": event_id or ""}
    ids["product_ids"] = "".join(product_ids)
    faults = {name: "Expected an id without NUL characters" for name, text in ids.items() if "\0" in text}
    if amount is not None and event_type == VIEW:
        faults["amount"] = "Expected null for a view, as it is in events"
    elif amount is not None and not math.isfinite(amount):
        faults["amount"] = "Expected a finite number"
    if event_type is None:
        for name, given in (("amount", amount), ("event_id", event_id)):
            if given is not None:
                faults[name] = "Expected only together with the event_type of the event at hand"
    return faults


class RankRequest(Struct, forbid_unknown_fields=True):
    """Which of these products will this user buy (again) within the horizon? Asked idle: now, at no event."""

    user_id: UserId
    product_ids: list[ProductId]

    def __post_init__(self) -> None:
        if faults := contract_faults(self.user_id, product_ids=self.product_ids):
            raise ValueError(str(faults))


class BatchRequest(Struct, forbid_unknown_fields=True):
    """Several prediction requests, each handled independently."""

    requests: list[PredictionRequest]


# Without a configuration of its own it takes that of the pydantic model that contains it.
@with_config(ConfigDict(extra="ignore"))
class Known(TypedDict):
    """Whether the store has state of each entity; an unknown entity has the empty state."""

    user: bool
    product: bool
    pair: bool


class Contribution(TypedDict):
    """What one input adds to the forest's votes."""

    name: Annotated[str, _about("Name of the input.", "days_since_last_purchase")]
    value: Annotated[float | None, _about("Its value; null if missing.", 4.25)]
    contribution: Annotated[float, _about("What it adds to the share of votes.", 0.08)]
    description: Annotated[str, _about(None, "Days since the user's last purchase.")]
    unit: Annotated[str, _about(None, "days")]


class Contributions(TypedDict):
    """Why the forest voted so: ``base``, the contributions of ``top`` and ``others`` add up to ``votes``."""

    base: Annotated[float, _about("Mean share of votes of the training rows.", 0.5)]
    votes: Annotated[
        float, _about("Share of the forest's votes, which the calibration maps to the probability.", 0.63)
    ]
    top: Annotated[list[Contribution], _about("The ten largest contributions by amount, the largest first.")]
    others: Annotated[float, _about("Sum of all other contributions.", 0.05)]


class PredictionResponse(TypedDict):
    """A prediction."""

    prediction: Annotated[int, _about("1 if the probability reaches the threshold, else 0.", 1, ge=0, le=1)]
    probability: Annotated[
        float, _about("P(the user buys the product within the horizon).", 0.625, ge=0, le=1)
    ]
    confidence: Annotated[
        float,
        _about(
            "Of the held-out requests of the same kind at least as extreme on the prediction's side, the share for"
            " which it was right, estimated conservatively.",
            0.71,
            ge=0,
            le=1,
        ),
    ]
    threshold: Annotated[
        float | None,
        _about("The threshold of this kind of request; null if a purchase is never predicted.", 0.31),
    ]
    user_id: Annotated[str, _about(None, "u-1042")]
    product_id: Annotated[str, _about(None, "p-17")]
    features_used: Annotated[
        Mapping[str, float | None],
        _about(
            "The four features of every response, or with explain=all every input of the model; null if missing.",
            _REQUIRED_FEATURES,
        ),
    ]
    model_version: Annotated[str, _about("Digest of the model.", _DIGEST)]
    arm: Annotated[str, _about("Arm of the rollout that made the prediction.", "baseline")]
    timestamp: Annotated[
        str, _about("Request time, RFC 3339 in UTC.", _NOW, extra_json_schema={"format": "date-time"})
    ]
    known: Annotated[Known, _about(None, {"user": True, "product": True, "pair": False})]
    horizon_seconds: NotRequired[
        Annotated[int, _about("The horizon that was asked for; only with horizon.", 604_800)]
    ]
    contributions: NotRequired[
        Annotated[Contributions, _about("Only with explain=contributions.", _CONTRIBUTIONS)]
    ]


class RankedProduct(PredictionResponse):
    """The prediction for one product of a ranking, and its usual timing."""

    last_purchase: Annotated[
        str | None,
        _about(
            "Time of the user's latest purchase of it, RFC 3339 in UTC; null if there is none.",
            "2026-01-10T12:00:00Z",
        ),
    ]
    due_in_days: Annotated[
        float | None,
        _about(
            "Days until the usual time between purchases is over, the pair's own or else the product's; negative if"
            " overdue, null if unknown.",
            2.5,
        ),
    ]


class ItemProblem(ProblemDocument):
    """The problem with one request of a batch."""

    index: int = Field(ge=0, description="Position of the request in the batch, from 0.")


def _results(kind: type, description: str) -> Meta:
    either = [{"$ref": REFERENCE.format(name=part.__name__)} for part in (kind, ItemProblem)]
    return Meta(description=description, extra_json_schema={"items": {"anyOf": either}})


class BatchResponse(TypedDict):
    """The results in the order of the requests."""

    results: Annotated[
        list[Any],
        _results(PredictionResponse, "For each request its prediction, or the problem with it."),
    ]
    failed: Annotated[int, _about("Number of problems among the results.", 1, ge=0)]


class RankResponse(TypedDict):
    """The products by falling probability."""

    results: Annotated[
        list[Any],
        _results(
            RankedProduct, "For each product its prediction; last, the problems with those that have none."
        ),
    ]
    failed: Annotated[int, _about("Number of problems among the results.", 0, ge=0)]


def request_types(
    event_types: tuple[str, ...], max_batch: int
) -> tuple[type[PredictionRequest], type[BatchRequest], type[RankRequest]]:
    """Return the types of a request that accepts these event types, and of a batch and a ranking of ``max_batch``."""
    # msgspec leaves the type of an enum to its values.
    choice = Annotated[Literal[event_types], Meta(extra_json_schema={"type": "string"})]  # type: ignore[valid-type]
    narrowed = {"event_type": Annotated[choice | None, _about("Type of the event at hand.", "purchase")]}
    fields = [
        (each.name, narrowed.get(each.name, each.type), msgspec.field(default=each.default))
        for each in msgspec.structs.fields(PredictionRequest)
    ]
    request = _narrowed(PredictionRequest, fields)
    many = Annotated[list[request], Meta(min_length=1, max_length=max_batch)]  # type: ignore[valid-type]
    products = Annotated[list[ProductId], Meta(min_length=1, max_length=max_batch)]
    rank = [("user_id", UserId, msgspec.field()), ("product_ids", products, msgspec.field())]
    return (
        request,
        _narrowed(BatchRequest, [("requests", many, msgspec.field())]),
        _narrowed(RankRequest, rank),
    )


def _narrowed(base: type[Struct], fields: list[tuple[str, Any, Any]]) -> Any:
    config = {
        name: getattr(base.__struct_config__, name) for name in ("frozen", "gc", "forbid_unknown_fields")
    }
    documentation = {"__doc__": inspect.getdoc(base)}
    return msgspec.defstruct(base.__name__, fields, bases=(base,), namespace=documentation, **config)


def decode_timestamp(kind: type, value: Any) -> Any:
    """Decode what msgspec does not know: a ``Timestamp``."""
    try:
        return kind(parse_timestamp(value))
    except InvalidEventError as error:
        raise ValueError(f"Expected {error.expected}") from None


def component_schemas(*types: type) -> dict[str, Any]:
    """Return the JSON schemas of these types, and of their parts, by name."""
    _, components = msgspec.json.schema_components(
        types,
        schema_hook=lambda kind: {"type": "string", "format": "date-time"} if kind is Timestamp else {},
        ref_template=REFERENCE,
    )
    for kind in filter(is_typeddict, types):
        # msgspec sorts the members of dictionaries by name.
        members = components[kind.__name__]["properties"]
        components[kind.__name__]["properties"] = {name: members[name] for name in kind.__annotations__}
    return components


class FeaturesResponse(BaseModel):
    """The present features of a user, or of a user and a product."""

    user_id: str = Field(examples=["u-1042"])
    product_id: str | None = Field(examples=["p-17"])
    features: dict[str, FeatureValue] = Field(examples=[_REQUIRED_FEATURES])
    known: dict[str, bool] = Field(examples=[{"user": True, "product": True, "pair": False}])
    model_version: str = Field(
        description="Digest of the model whose plan defines the features.", examples=[_DIGEST]
    )
    timestamp: str = Field(json_schema_extra={"format": "date-time"}, examples=[_NOW])


class FeatureInfo(BaseModel):
    """One input of the model."""

    name: str
    entity: Literal["user", "product", "pair", "request"] = Field(
        description="Entity whose state it is computed from."
    )
    source: str = Field(description="Name in Deep Feature Synthesis, or formula.")
    unit: str
    description: str
    impurity_importance: float | None = Field(description="Share of the forest's impurity decrease.")
    permutation_importance: float | None = Field(description="Drop of ROC AUC when the input is shuffled.")


class RefusedModel(BaseModel):
    """A model that could not replace the loaded one."""

    digest: str = Field(description="Its digest; latest if the store's pointer could not be read.")
    reason: str
    at: datetime


_HASH = _DIGEST.removeprefix("sha256:")
_SCORES = {
    "roc_auc": 0.81,
    "average_precision": 0.42,
    "brier": 0.09,
    "log_loss": 0.31,
    "calibration_error": 0.01,
    "precision": 0.5,
    "recall": 0.6,
}
_WINDOW = {"start": "2025-01-01T00:00:00Z", "end": "2025-09-01T00:00:00Z", "rows": 80_000, "positives": 9_000}
_MODEL_INFO: dict[str, Any] = {
    "digest": _DIGEST,
    "loaded_at": _NOW,
    "refused": None,
    "threshold": 0.31,
    "verdicts": {
        "repeat idle": {
            "threshold": 0.31,
            "edges": [0.1, 0.31, 0.6],
            "confidences": [0.96, 0.88, 0.55, 0.78],
            "pooled": False,
            "true_positives": 310,
            "false_positives": 250,
            "true_negatives": 3500,
            "false_negatives": 470,
        }
    },
    "horizon_seconds": 2_592_000,
    "horizons": [],
    "plan_hash": _HASH,
    "schema_hash": _HASH,
    "features": [
        {
            "name": "total_spend",
            "entity": "user",
            "source": "SUM(purchases.amount)",
            "unit": "currency",
            "description": "What the user has spent so far.",
            "impurity_importance": 0.08,
            "permutation_importance": 0.01,
        }
    ],
    "evaluation": {
        "overall": {"rows": 20_000, "positives": 2_200, "model": _SCORES, "baselines": {"recency": _SCORES}},
        "repeat_candidates": None,
    },
    "data": {
        "events_sha256": _HASH,
        "events": 1_000_000,
        "first": "2025-01-01T00:00:00Z",
        "last": "2025-12-31T23:59:59Z",
        "labelled_rows": 900_000,
        "sampled_rows": 120_000,
        "train": _WINDOW,
        "calibration": _WINDOW,
        "evaluation": _WINDOW,
    },
    "parity": {"rows": 20_000, "max_abs_diff": 1.2e-7, "tolerance": 1e-5},
    "parameters": {"trees": 100},
    "libraries": {"scikit-learn": "1.7.2", "onnx": "1.19.1"},
    "training": {"trained_at": "2026-01-30T02:00:00Z"},
}


class ModelInfo(BaseModel):
    """The model of the baseline."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MODEL_INFO]})

    digest: str
    loaded_at: datetime
    refused: RefusedModel | None = Field(description="A newer model that was refused, if any.")
    threshold: float = Field(description="Of all requests at events together.")
    verdicts: dict[str, KindVerdict] = Field(
        description="By kind of request its threshold, by ``parameters.threshold_rule``, and the confidences."
    )
    horizon_seconds: int
    horizons: tuple[HorizonModel, ...] = Field(
        description="Further horizons, for ``?horizon=``, each with its verdicts and evaluation."
    )
    plan_hash: str
    schema_hash: str
    features: list[FeatureInfo]
    evaluation: Evaluation
    data: DataSnapshot
    parity: Parity
    parameters: dict[str, Any]
    libraries: dict[str, str]
    training: dict[str, Any] = Field(description="Metadata of the training run; not part of the digest.")
