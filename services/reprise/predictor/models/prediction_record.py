"""What the prediction log keeps of an answer."""

from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from reprise.events import format_timestamp
from reprise.predictor.handlers.request_decoder import Asked
from reprise.predictor.models.api import Known, Value
from reprise.predictor.models.prediction import Prediction

SCHEMA_VERSION = 1

_Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class PredictionRecord(BaseModel):
    """A record of the topic ``ecommerce-predictions``; its key is the ``user_id``.

    Records of one version may gain members; a member that goes, or means something else, is a new version.
    """

    model_config = ConfigDict(extra="allow")

    schema_version: Literal[1]
    answered_at: _Instant = Field(description="When it was answered, by the predictor's clock.")
    timestamp: _Instant = Field(description="The instant it was answered for.")
    user_id: str
    product_id: str
    event_type: str | None = Field(description="Of the request.")
    amount: float | None = Field(description="Of the request, in the shop's currency.")
    probability: float = Field(ge=0, le=1)
    prediction: bool
    threshold: float
    model_version: str = Field(description="Digest of the model.")
    arm: str = Field(description="Arm of the rollout that the user was in.")
    shadow: bool = Field(
        default=False, description="Whether the arm only scored, and another arm answered the request."
    )
    known: Known
    features: dict[str, Value] = Field(description="Every input of the model, by name.")
    trace_id: str | None = Field(description="W3C trace that the request belonged to.")


def encode_record(
    request: Asked, prediction: Prediction, answered_us: int, trace_id: str | None, shadow: bool = False
) -> bytes:
    """Return the record of an answer as JSON.

    Args:
        request: What was asked.
        prediction: What was answered.
        answered_us: When, microseconds since 1970-01-01 UTC.
        trace_id: The trace that the request belonged to.
        shadow: Whether the arm only scored.
    """
    model = prediction.model
    user, product, pair = prediction.known
    return orjson.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "answered_at": format_timestamp(answered_us),
            "timestamp": format_timestamp(prediction.timestamp_us),
            "user_id": prediction.user_id,
            "product_id": prediction.product_id,
            "event_type": request.event_type,
            "amount": request.amount,
            "probability": prediction.probability,
            "prediction": prediction.probability >= model.threshold,
            "threshold": model.threshold,
            "model_version": model.digest,
            "arm": prediction.arm.name,
            "shadow": shadow,
            "known": {"user": user, "product": product, "pair": pair},
            "features": prediction.by_name(),  # orjson writes null for what is missing
            "trace_id": trace_id,
        }
    )
