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


def archived(texts: list[str | None]) -> pa.RecordBatch:
    values = {"prediction": pa.array(texts, pa.string()), "problem": pa.nulls(len(texts), pa.string())}
    return pa.RecordBatch.from_pydict(values)


def test_predictions_for_canaries_are_left_out_and_are_not_broken() -> None:
    texts = [said("ada"), said(f"{CANARY_PREFIX}user-1"), said("eve", probability=2.0), None, said("bob")]
    batch = archived(texts)
    rows, broken, others = prediction_batch(batch, first_row=10)
    assert rows.column("user_id").to_pylist() == ["ada", "bob"]
    assert rows.column("row_id").to_pylist() == [10, 11]
    assert (broken, others) == (2, 0)


def test_event_id_of_a_request_is_kept_and_may_be_absent_in_older_records() -> None:
    texts = [said("ada", event_id="e-1"), said("bob"), said("cyd", event_id=None), said("eve", event_id=7)]
    batch = archived(texts)
    rows, broken, others = prediction_batch(batch, first_row=0)
    assert rows.column("event_id").to_pylist() == ["e-1", None, None]
    assert (broken, others) == (1, 0)


def test_predictions_for_further_horizons_are_counted_and_left_out() -> None:
    texts = [said("old"), said("ada", horizon_seconds=None), said("bob", horizon_seconds=604_800)]
    rows, broken, others = prediction_batch(archived(texts), first_row=0)
    assert rows.column("user_id").to_pylist() == ["old", "ada"]
    assert (broken, others) == (0, 1)
