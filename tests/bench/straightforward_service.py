"""The service that one would write first, and that the predictor is measured against.

A FastAPI handler, features from Feast's online store by its SDK, pandas, and the forest from joblib. It does
less than the predictor: its features are stored ready, as of when they were materialized, so none is finished
at the time of the request.

Run by uvicorn; STRAIGHTFORWARD_FOLDER names the folder that ``prepare`` of ``bench_fixtures`` has filled.
"""

import json
import math
import os
from pathlib import Path

import joblib
import pandas as pd
from fastapi import FastAPI
from feast import FeatureStore
from pydantic import BaseModel

FOLDER = Path(os.environ["STRAIGHTFORWARD_FOLDER"])
STORE = FeatureStore(str(FOLDER))
MODEL = joblib.load(FOLDER / "forest.joblib")
LAYOUT = json.loads((FOLDER / "layout.json").read_text())
FEATURES = LAYOUT["features"]
INPUTS = LAYOUT["inputs"]
FORMULAS = LAYOUT["formulas"]

app = FastAPI()


class PredictionRequest(BaseModel):
    user_id: str
    product_id: str
    event_type: str | None = None
    amount: float | None = None


class BatchRequest(BaseModel):
    requests: list[PredictionRequest]


class PredictionResponse(BaseModel):
    prediction: bool
    probability: float
    user_id: str
    product_id: str
    features_used: dict[str, float | None]


class BatchResponse(BaseModel):
    results: list[PredictionResponse]


def answer(requests: list[PredictionRequest]) -> list[PredictionResponse]:
    rows = [{"user_id": request.user_id, "product_id": request.product_id} for request in requests]
    frame = STORE.get_online_features(features=FEATURES, entity_rows=rows).to_df()
    frame["request_amount"] = pd.Series([request.amount for request in requests], dtype="float64")
    frame["request_is_purchase"] = [float(request.event_type == "purchase") for request in requests]
    given = [name for name in INPUTS if name not in FORMULAS]
    frame[given] = frame[given].astype("float64")
    for name, formula in FORMULAS.items():
        frame[name] = frame.eval(formula).replace([math.inf, -math.inf], math.nan)
    probabilities = MODEL.predict_proba(frame[INPUTS].to_numpy("float32"))[:, 1]
    shown = frame[
        ["total_spend", "avg_transaction_amount", "days_since_last_purchase", "repeat_purchase_count"]
    ]
    shown = shown.astype(object).where(shown.notna(), None).to_dict("records")
    return [
        PredictionResponse(
            prediction=probability >= 0.5,
            probability=probability,
            user_id=request.user_id,
            product_id=request.product_id,
            features_used=features,
        )
        for request, probability, features in zip(requests, probabilities, shown, strict=True)
    ]


@app.post("/predict")
def predict(request: PredictionRequest) -> PredictionResponse:
    return answer([request])[0]


@app.post("/predict/batch")
def predict_batch(batch: BatchRequest) -> BatchResponse:
    return BatchResponse(results=answer(batch.requests))
