"""The HTTP API of each service, as OpenAPI says it."""

import tempfile
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from golden.installed import clean_environment
from golden.text import as_text, numbered_schemas, without_prose
from reprise.predictor.app import create_app as create_predictor
from reprise.predictor.context import build_context
from reprise.predictor.settings import PredictorSettings
from reprise.producer.app import create_app as create_producer
from reprise.producer.metrics import ProducerMetrics
from reprise.producer.settings import ProducerSettings
from reprise.status.app import create_app as create_status
from reprise.status.settings import StatusSettings
from support.fake_log import FakeLogProducer
from support.fake_reader import FakeReader


def openapi() -> str:
    with clean_environment():
        services = {
            "predictor": _predictor(),
            "producer": _producer(),
            "status": create_status(StatusSettings.load()),
        }
        return as_text({name: _contract(app) for name, app in services.items()}) + "\n"


def _contract(app: FastAPI) -> dict[str, Any]:
    """Return what clients depend on; generated ids of operations and names of schemas are not."""
    document = numbered_schemas(without_prose(app.openapi()))
    for path in document["paths"].values():
        for method, operation in path.items():
            if operation["operationId"].endswith(f"_{method}"):
                del operation["operationId"]
    hidden = {getattr(route, "path", "") for route in app.routes} - document["paths"].keys()
    return document | {"paths outside of the schema": sorted(filter(None, hidden))}


def _predictor() -> FastAPI:
    with tempfile.TemporaryDirectory() as folder:
        settings = PredictorSettings.load(model_store=folder)
        return create_predictor(build_context(settings, store=FakeReader()))


def _producer() -> FastAPI:
    settings, log = ProducerSettings.load(), FakeLogProducer()
    metrics = ProducerMetrics(CollectorRegistry(), log.buffered)
    return create_producer(settings, log, metrics)
