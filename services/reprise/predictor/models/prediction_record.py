"""The record of a prediction in the topic ``ecommerce-predictions``."""

from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from reprise.events import format_timestamp
from reprise.predictor.models.api import FeatureValue, Known, PredictionRequest
from reprise.predictor.models.prediction import Prediction

SCHEMA_VERSION = 1

_Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class PredictionRecord(BaseModel):
    """A record of the topic ``ecommerce-predictions``; its key is the ``user_id``.

    Records of one version may gain members. A member that is removed or changes its meaning makes a new version.
    """

    model_config = ConfigDict(extra="allow")

    schema_version: Literal[1]
    answered_at: _Timestamp = Field(description="When the predictor responded, by its clock.")
    timestamp: _Timestamp = Field(description="Request time that the features were computed for.")
    user_id: str
    product_id: str
    event_type: str | None = Field(description="Event type of the request.")
    amount: float | None = Field(description="Amount of the request, in the shop's currency.")
    probability: float = Field(ge=0, le=1)
    prediction: bool
    threshold: float
    model_version: str = Field(description="Digest of the model.")
    arm: str = Field(description="Arm of the rollout that scored the request.")
    shadow: bool = Field(
        default=False, description="Whether the arm scored shadow traffic while another arm responded."
    )
    known: Known
    features: dict[str, FeatureValue] = Field(description="Every input of the model, by name.")
    trace_id: str | None = Field(description="W3C trace id of the request.")


def encode_record(
    request: PredictionRequest,
    prediction: Prediction,
    answered_us: int,
    trace_id: str | None,
    shadow: bool = False,
) -> bytes:
    """Return the record as JSON; ``answered_us`` is in microseconds since 1970-01-01 UTC."""
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
            "features": prediction.inputs_by_name(),  # orjson writes NaN as null
            "trace_id": trace_id,
        }
    )
