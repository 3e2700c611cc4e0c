"""The contract of the HTTP API as pydantic models: requests and responses, their validation and documentation.

Requests on the hot path are decoded by msgspec first; see ``reprise.predictor.handlers.request_decoder``.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    field_validator,
)
from pydantic_core import PydanticCustomError

from reprise.bundle import DataSnapshot, Evaluation, Parity
from reprise.events import InvalidEventError, parse_timestamp
from reprise.http.problems import ProblemDocument
from reprise.predictor.models import examples

VIEW = "view"


def _parse_timestamp(value: object) -> int:
    try:
        return parse_timestamp(value)
    except InvalidEventError as error:
        raise PydanticCustomError("timestamp", "Expected {expected}", {"expected": error.expected}) from None


Identifier = Annotated[
    str,
    Field(
        min_length=1, max_length=256, pattern=r"^[^\u0000]+$", description="Opaque id without NUL characters."
    ),
]
Timestamp = Annotated[
    int,
    BeforeValidator(_parse_timestamp),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"]}),
]
"""Microseconds since 1970-01-01 UTC; in JSON RFC 3339 with an offset."""

FeatureValue = Annotated[float | None, Field(description="Null if the feature is missing.")]


class PredictionRequest(BaseModel):
    """Will this user buy this product (again) within the horizon?

    The online store holds present state only, so ``timestamp`` has to be close to now, by default within five
    minutes. It allows for the client's clock. If the state has an event after ``timestamp``, times since that
    event are zero.
    """

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [examples.REQUEST]})

    user_id: Identifier = Field(examples=["u-1042"])
    product_id: Identifier = Field(examples=["p-17"])
    event_type: str | None = Field(
        default=None, description="Type of the event at hand.", examples=["purchase"]
    )
    amount: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Amount of the event at hand, in the shop's currency; null for a view.",
        examples=[19.9],
    )
    timestamp: Timestamp | None = Field(default=None, description="Request time; now by default.")

    @field_validator("amount")
    @classmethod
    def _view_has_no_amount(cls, amount: float | None, info: ValidationInfo) -> float | None:
        if amount is not None and info.data.get("event_type") == VIEW:
            raise PydanticCustomError("amount_of_view", "Expected null for a view, as it is in events")
        return amount


class BatchRequest(BaseModel):
    """Several prediction requests, each handled independently."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [examples.BATCH]})

    requests: list[PredictionRequest] = Field(min_length=1)


class Known(BaseModel):
    """Whether the store has state of each entity; an unknown entity has the empty state."""

    user: bool
    product: bool
    pair: bool


class PredictionResponse(BaseModel):
    """A prediction."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.PREDICTION]})

    prediction: bool = Field(description="Whether the probability reaches the model's threshold.")
    probability: float = Field(ge=0, le=1, description="P(the user buys the product within the horizon).")
    confidence: float = Field(ge=0, le=1, description="Probability of the predicted class.")
    user_id: str
    product_id: str
    features_used: dict[str, FeatureValue] = Field(
        description="The four features of every response, or with explain=all every input of the model.",
        examples=[examples.REQUIRED_FEATURES],
    )
    model_version: str = Field(description="Digest of the model.", examples=[examples.DIGEST])
    arm: str = Field(description="Arm of the rollout that made the prediction.", examples=["baseline"])
    timestamp: str = Field(
        description="Request time, RFC 3339 in UTC.",
        examples=["2026-01-31T12:00:00Z"],
        json_schema_extra={"format": "date-time"},
    )
    known: Known


class ItemProblem(ProblemDocument):
    """The problem with one request of a batch."""

    index: int = Field(ge=0, description="Position of the request in the batch, from 0.")


class BatchResponse(BaseModel):
    """The results in the order of the requests."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.BATCH_RESPONSE]})

    results: list[PredictionResponse | ItemProblem] = Field(
        description="For each request its prediction, or the problem with it."
    )
    failed: int = Field(ge=0, description="Number of problems among the results.")


class FeaturesResponse(BaseModel):
    """The present features of a user, or of a user and a product."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.FEATURES]})

    user_id: str
    product_id: str | None
    features: dict[str, FeatureValue]
    known: dict[str, bool] = Field(examples=[{"user": True, "product": True, "pair": False}])
    model_version: str = Field(description="Digest of the model whose plan defines the features.")
    timestamp: str = Field(json_schema_extra={"format": "date-time"})


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
    at: str = Field(json_schema_extra={"format": "date-time"})


class ModelInfo(BaseModel):
    """The model of the baseline."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_INFO]})

    digest: str = Field(examples=[examples.DIGEST])
    loaded_at: str = Field(json_schema_extra={"format": "date-time"})
    refused: RefusedModel | None = Field(description="A newer model that was refused, if any.")
    threshold: float
    horizon_seconds: int
    plan_hash: str
    schema_hash: str
    features: list[FeatureInfo]
    evaluation: Evaluation
    data: DataSnapshot
    parity: Parity
    parameters: dict[str, Any]
    libraries: dict[str, str]
    training: dict[str, Any] = Field(description="Metadata of the training run; not part of the digest.")


def request_model(event_types: tuple[str, ...]) -> type[PredictionRequest]:
    """Return the model of a request that accepts these event types."""
    names = Literal[event_types]  # type: ignore[valid-type]
    description = PredictionRequest.model_fields["event_type"].description
    return create_model(
        PredictionRequest.__name__,
        __base__=PredictionRequest,
        __doc__=PredictionRequest.__doc__,
        event_type=(names | None, Field(default=None, description=description, examples=["purchase"])),
    )


def batch_model(request: type[PredictionRequest], max_batch: int) -> type[BatchRequest]:
    """Return the model of a batch of at most ``max_batch`` requests: the limit in OpenAPI and of the slow path.

    ``RequestDecoder`` has the same limit on the fast path.
    """
    return create_model(
        BatchRequest.__name__,
        __base__=BatchRequest,
        __doc__=BatchRequest.__doc__,
        requests=(list[request], Field(min_length=1, max_length=max_batch)),  # type: ignore[valid-type]
    )
