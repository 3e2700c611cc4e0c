import orjson
import pyarrow as pa

from reprise.events import CANARY_PREFIX
from reprise.outcomes.tables.archive_snapshot import prediction_batch


def said(user: str, **others: object) -> str:
    record = {
        "schema_version": 1, "answered_at": "2026-01-31T12:00:00Z", "timestamp": "2026-01-31T12:00:00Z",
        "user_id": user, "product_id": "p", "amount": None, "event_type": "view", "probability": 0.5,
        "model_version": "sha256:1", "arm": "baseline", "features": {},
    }  # fmt: skip
    return orjson.dumps(record | others).decode()


def test_valid_predictions_are_kept_and_the_others_counted() -> None:
    texts = [
        *(said("ada", event_id="e-1"), said("bob", horizon_seconds=None), said("cyd", event_id=None)),
        *(said("eve", probability=2.0), said("eve", event_id=7), None),  # Broken
        *(said(f"{CANARY_PREFIX}user-1"), said("dan", horizon_seconds=604_800), said("fay")),
    ]
    values = {"prediction": pa.array(texts, pa.string()), "problem": pa.nulls(len(texts), pa.string())}
    rows, broken, further = prediction_batch(pa.RecordBatch.from_pydict(values), first_row=10)
    assert rows.column("user_id").to_pylist() == ["ada", "bob", "cyd", "fay"]
    assert rows.column("row_id").to_pylist() == [10, 11, 12, 13]
    assert rows.column("event_id").to_pylist() == ["e-1", None, None, None]
    assert (broken, further) == (3, 1)
