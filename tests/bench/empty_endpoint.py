"""A FastAPI endpoint that does nothing but take and give what the predictor does: its ceiling."""

from fastapi import FastAPI

from reprise.predictor.models import examples
from reprise.predictor.models.api import PredictionRequest, PredictionResponse

ANSWER = PredictionResponse.model_validate(examples.PREDICTION)

# As in reprise.http.app: even unused, telemetry costs each request something.
app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})


@app.post("/predict")
async def predict(_: PredictionRequest) -> PredictionResponse:
    return ANSWER
