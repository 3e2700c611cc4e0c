"""A FastAPI endpoint that does nothing but take and give what the predictor does: its ceiling."""

from fastapi import FastAPI
from pydantic import BaseModel


class PredictionRequest(BaseModel):
    user_id: str
    product_id: str
    event_type: str | None = None
    amount: float | None = None
    timestamp: str | None = None


class PredictionResponse(BaseModel):
    prediction: int
    probability: float
    confidence: float
    threshold: float | None
    user_id: str
    product_id: str
    features_used: dict[str, float | None]
    model_version: str
    arm: str
    timestamp: str
    known: dict[str, bool]


ANSWER = PredictionResponse(
    prediction=1, probability=0.625, confidence=0.71, threshold=0.31, user_id="u-1042", product_id="p-17",
    features_used={
        "total_spend": 180.5, "avg_transaction_amount": 36.1, "days_since_last_purchase": 4.25,
        "repeat_purchase_count": 2.0,
    },
    model_version="sha256:" + "0123456789abcdef" * 4, arm="baseline", timestamp="2026-01-31T12:00:00Z",
    known={"user": True, "product": True, "pair": False},
)  # fmt: skip

# As in reprise.http.app: even unused, telemetry costs each request something.
app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})


@app.post("/predict")
async def predict(_: PredictionRequest) -> PredictionResponse:
    return ANSWER
