"""Examples in the API documentation; a test validates each against its model."""

from typing import Any

DIGEST = "sha256:" + "0123456789abcdef" * 4
_HASH = DIGEST.removeprefix("sha256:")
_NOW = "2026-01-31T12:00:00Z"

REQUEST: dict[str, Any] = {
    "user_id": "u-1042",
    "product_id": "p-17",
    "event_type": "purchase",
    "amount": 19.9,
}
REQUIRED_FEATURES = {
    "total_spend": 180.5,
    "avg_transaction_amount": 36.1,
    "days_since_last_purchase": 4.25,
    "repeat_purchase_count": 2.0,
}
PREDICTION: dict[str, Any] = {
    "prediction": True,
    "probability": 0.625,
    "confidence": 0.625,
    "user_id": "u-1042",
    "product_id": "p-17",
    "features_used": REQUIRED_FEATURES,
    "model_version": DIGEST,
    "arm": "baseline",
    "timestamp": _NOW,
    "known": {"user": True, "product": True, "pair": False},
}
BATCH: dict[str, Any] = {"requests": [REQUEST, {"user_id": "u-7", "product_id": "p-17", "amount": -1}]}
BATCH_RESPONSE: dict[str, Any] = {
    "results": [
        PREDICTION,
        {
            "index": 1,
            "type": "urn:reprise:problem:invalid-request",
            "title": "The request breaks the contract",
            "status": 422,
            "detail": "1 field is at fault (amount)",
            "errors": [
                {"field": "amount", "message": "Input should be greater than or equal to 0", "value": -1}
            ],
        },
    ],
    "failed": 1,
}
FEATURES: dict[str, Any] = {
    "user_id": "u-1042",
    "product_id": None,
    "features": REQUIRED_FEATURES,
    "known": {"user": True},
    "model_version": DIGEST,
    "timestamp": _NOW,
}
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
MODEL_INFO: dict[str, Any] = {
    "digest": DIGEST,
    "loaded_at": _NOW,
    "refused": None,
    "threshold": 0.31,
    "horizon_seconds": 2_592_000,
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

_BASELINE = {"name": "baseline", "digest": DIGEST, "weight": 9000, "shadow": False}
_CANDIDATE = {"name": "deeper", "digest": "sha256:" + "ab" * 32, "weight": 1000, "shadow": False}
ROUTING: Any = {
    "schema_version": 1,
    "generation": 7,
    "fingerprint": "3f786850e387550f",
    "rollout": "reprise/repeat-purchase",
    "arms": [
        {**_BASELINE, "state": "loaded", "reason": None},
        {**_CANDIDATE, "state": "failed", "reason": "BundleNotFoundError: the store has no such bundle"},
    ],
    "refused": None,
}
