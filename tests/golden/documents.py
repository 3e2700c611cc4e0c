"""Documents that processes leave for one another, and the topics that carry them."""

from pydantic import BaseModel

from golden.text import as_text, numbered_schemas, without_prose
from reprise.bundle import Manifest
from reprise.events import Event, encode_event
from reprise.log import TOPICS
from reprise.predictor.storage.prediction_log import PredictionRecord
from reprise.routing.document import RoutingDocument, RoutingReport
from reprise.routing.evidence import RolloutEvidence
from reprise.status.report import Report

_EVENT = Event(
    event_id="e-1", user_id="ü 1", product_id="p|1", event_type="purchase", timestamp_us=1_767_225_600_000_001,
    amount=12.5,
)  # fmt: skip


def documents() -> str:
    models: dict[str, type[BaseModel]] = {
        "manifest of a bundle": Manifest,
        "record of a prediction": PredictionRecord,
        "routing document": RoutingDocument,
        "evidence of a rollout": RolloutEvidence,
        "routing as a predictor reports it": RoutingReport,
        "status.json": Report,
    }
    found: dict[str, object] = {
        name: numbered_schemas(without_prose(model.model_json_schema())) for name, model in models.items()
    }
    found["topics"] = [
        f"{topic.name}: {topic.partitions} partitions, {topic.cleanup} after {topic.retention}"
        for topic in TOPICS
    ]
    found["event"] = encode_event(_EVENT).decode()
    return as_text(found) + "\n"
