"""What the API takes and gives, as pydantic models: the contract, its validation and its documentation."""

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


def _instant(value: object) -> int:
    try:
        return parse_timestamp(value)
    except InvalidEventError as error:
        raise PydanticCustomError("timestamp", "Expected {expected}", {"expected": error.expected}) from None


Identifier = Annotated[
    str, Field(min_length=1, max_length=256, pattern=r"^[^\u0000]+$", description="Opaque id, without NUL.")
]
Instant = Annotated[
    int,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"]}),
]
"""Microseconds since 1970-01-01 UTC; RFC 3339 with an offset on the wire."""

Value = Annotated[float | None, Field(description="Null where the feature is missing.")]


class PredictionRequest(BaseModel):
    """Will this user buy this product (again) within the horizon?

    State is kept for the present, so ``timestamp`` has to be near now: by default up to five minutes off.
    It is meant for the clock of who asks. Where the stored state holds an event from after ``timestamp``,
    times since it count as zero.
    """

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [examples.REQUEST]})

    user_id: Identifier = Field(examples=["u-1042"])
    product_id: Identifier = Field(examples=["p-17"])
    event_type: str | None = Field(default=None, description="What the user is doing.", examples=["purchase"])
    amount: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="What is about to be paid, in the shop's currency; a view has none.",
        examples=[19.9],
    )
    timestamp: Instant | None = Field(default=None, description="When; now by default.")

    @field_validator("amount")
    @classmethod
    def _view_has_no_amount(cls, amount: float | None, info: ValidationInfo) -> float | None:
        if amount is not None and info.data.get("event_type") == VIEW:
            raise PydanticCustomError("amount_of_view", "Expected null for a view, as it is in events")
        return amount


class BatchRequest(BaseModel):
    """Many predictions at once; each stands for itself."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [examples.BATCH]})

    requests: list[PredictionRequest] = Field(min_length=1)


class Known(BaseModel):
    """Whether the store has seen them before; what it has not seen is answered from the empty state."""

    user: bool
    product: bool
    pair: bool


class PredictionResponse(BaseModel):
    """The answer to one prediction request."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ANSWER]})

    prediction: bool = Field(description="Whether the probability reaches the model's threshold.")
    probability: float = Field(ge=0, le=1, description="P(the user buys the product within the horizon).")
    confidence: float = Field(ge=0, le=1, description="Probability of what is predicted.")
    user_id: str
    product_id: str
    features_used: dict[str, Value] = Field(
        description="The four features that every answer shows, or with explain=all every input of the model.",
        examples=[
            {
                "total_spend": 180.5,
                "avg_transaction_amount": 36.1,
                "days_since_last_purchase": 4.25,
                "repeat_purchase_count": 2.0,
            }
        ],
    )
    model_version: str = Field(description="Digest of the model.", examples=[examples.DIGEST])
    arm: str = Field(description="Arm of the rollout that the user is in.", examples=["baseline"])
    timestamp: str = Field(
        description="The instant of the request, RFC 3339 in UTC.",
        examples=["2026-01-31T12:00:00Z"],
        json_schema_extra={"format": "date-time"},
    )
    known: Known


class ItemProblem(ProblemDocument):
    """What was wrong with one request of a batch, and which."""

    index: int = Field(ge=0, description="Position of the request in the batch, from 0.")


class BatchResponse(BaseModel):
    """The answers, in the order of the requests."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.BATCH_ANSWER]})

    results: list[PredictionResponse | ItemProblem] = Field(
        description="For each request its answer, or the problem with it."
    )
    failed: int = Field(ge=0, description="How many of them are problems.")


class FeaturesResponse(BaseModel):
    """The features of a user, or of a user and a product, at this moment."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.FEATURES]})

    user_id: str
    product_id: str | None
    features: dict[str, Value]
    known: dict[str, bool] = Field(examples=[{"user": True, "product": True, "pair": False}])
    model_version: str = Field(description="Digest of the model whose plan was used.")
    timestamp: str = Field(json_schema_extra={"format": "date-time"})


class FeatureInfo(BaseModel):
    """One input of the model."""

    name: str
    entity: Literal["user", "product", "pair", "request"] = Field(description="Whose state it comes from.")
    source: str = Field(description="Its name in Deep Feature Synthesis, or its formula.")
    unit: str
    description: str
    impurity_importance: float | None = Field(description="Share of the forest's impurity decrease.")
    permutation_importance: float | None = Field(description="Drop of ROC AUC when it is shuffled.")


class RefusedModel(BaseModel):
    """A model that was to take over and was refused."""

    digest: str = Field(description="Its digest, or latest where that could not be found out.")
    reason: str
    at: str = Field(json_schema_extra={"format": "date-time"})


class ModelInfo(BaseModel):
    """The model that answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MODEL_INFO]})

    digest: str = Field(examples=[examples.DIGEST])
    loaded_at: str = Field(json_schema_extra={"format": "date-time"})
    refused: RefusedModel | None = Field(description="A newer model that did not fit, if there is one.")
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
    training: dict[str, Any] = Field(description="When and how long it was trained; not part of the digest.")


def request_model(event_types: tuple[str, ...]) -> type[PredictionRequest]:
    """Return the prediction request that knows these event types."""
    names = Literal[event_types]  # type: ignore[valid-type]
    described = PredictionRequest.model_fields["event_type"]
    return create_model(
        PredictionRequest.__name__,
        __base__=PredictionRequest,
        __doc__=PredictionRequest.__doc__,
        event_type=(
            names | None,
            Field(default=None, description=described.description, examples=["purchase"]),
        ),
    )


def batch_model(request: type[PredictionRequest], max_batch: int) -> type[BatchRequest]:
    """Return the batch of up to so many of these requests."""
    return create_model(
        BatchRequest.__name__,
        __base__=BatchRequest,
        __doc__=BatchRequest.__doc__,
        requests=(list[request], Field(min_length=1, max_length=max_batch)),  # type: ignore[valid-type]
    )
