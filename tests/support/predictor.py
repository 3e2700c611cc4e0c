"""A predictor on a fake reader, for tests of its API."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from reprise.bundle import BundleFiles, BundleStore
from reprise.http.tracing.factory import open_tracing
from reprise.log import LogProducer
from reprise.predictor.app import create_app
from reprise.predictor.context import OpenTracing, PredictorContext, build_context
from reprise.predictor.settings import PredictorSettings
from reprise.routing import DocumentKeys, RoutingDocument, document_key, signature_key
from support.fake_reader import FakeReader
from support.faulty_proxy import FaultyProxy
from support.redis import RedisServer
from support.served_bundles import DAY_US

NOW_US = 1_769_860_800_000_000
"""2026-01-31T12:00:00Z, when every test of the API takes place."""

ASK = {"user_id": "u-1", "product_id": "p-1", "event_type": "purchase", "amount": 20.0}
USER = (3, 90.0, 12.5, NOW_US - 2 * DAY_US, 4, 1.0)
"""Three purchases for 90.0, the last two days ago; one of four products bought again."""


class RunningPredictor:
    """What a test talks to and looks into."""

    def __init__(
        self, client: TestClient, context: PredictorContext, reader: FakeReader, routing: "PublishedRouting"
    ) -> None:
        self.client = client
        self.context = context
        self.reader = reader
        self.routing = routing
        self._counted: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    def reset(self) -> None:
        """Repair the store, and have ``metric`` count from now on, so that tests can share the predictor."""
        self.reader.failure, self.reader.delay = None, 0.0
        self.reader.corrupt.clear()
        self.call(self.context.reader.check)
        self.call(self.context.reader.read, [])
        self.reader.round_trips = 0
        samples = [sample for family in self.context.registry.collect() for sample in family.samples]
        self._counted = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for sample in samples
            if sample.name.endswith(("_total", "_count", "_bucket"))
        }

    def call(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Call a coroutine function on the predictor's event loop."""
        portal = self.client.portal
        assert portal is not None
        return portal.call(function, *arguments)

    def route(self, document: RoutingDocument | bytes, signed_by: Path | None = None) -> None:
        """Publish a routing document and have the predictor look at it until nothing is loading."""
        data = document if isinstance(document, bytes) else document.to_bytes()
        self.routing.data = data
        self.routing.signature = DocumentKeys.read(signing=signed_by).sign(document_key("reprise"), data)
        self.refresh_routing()

    def refresh_routing(self) -> None:
        """Have the predictor look at what is published."""
        self.call(self.context.router.refresh)
        self.call(self.context.router.wait_for_loads, 10.0)

    def know(self, user_id: str, product_id: str, *, user: Any, product: Any, pair: Any) -> None:
        """Put three rows into the store, each with all fields of its state; a row that is None stays unknown."""
        model = self.context.configured_model.current
        for states, entity, row, ids in (
            (model.user, model.plan.user, user, (user_id,)),
            (model.product, model.plan.product, product, (product_id,)),
            (model.pair, model.plan.pair, pair, (user_id, product_id)),
        ):
            if row is not None:
                read = [row[entity.field_index[field.name]] for field in states.codec.view.fields]
                self.reader.put(states.codec, read, *ids)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample, a counter's since the reset; 0 where it is not there yet."""
        value = self.context.registry.get_sample_value(name, labels) or 0.0
        return value - self._counted.get((name, frozenset(labels.items())), 0.0)


class PublishedRouting:
    """What is published in place of a Redis; ``failure`` is raised instead."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.signature: bytes | None = None
        self.failure: Exception | None = None

    async def __call__(self, key: str) -> bytes | None:
        if self.failure is not None:
            raise self.failure
        return self.signature if key == signature_key(document_key("reprise")) else self.data


def published(store: Path, files: BundleFiles) -> str:
    bundles = BundleStore(str(store))
    digest = bundles.publish(files)
    bundles.set_latest(digest)
    return digest


@contextmanager
def predictor_on(redis: FaultyProxy | RedisServer, store: Path, **settings: Any) -> Iterator[TestClient]:
    """Run the application on a real Redis, or on a proxy in front of one."""
    settings.setdefault("redis_ping_seconds", 0.05)
    settings.setdefault("rehearsal_seconds", 0)
    configured = PredictorSettings.load(
        model_store=str(store), redis_host=redis.host, redis_port=redis.port, **settings
    )
    with TestClient(create_app(build_context(configured))) as client:
        yield client


@contextmanager
def running_predictor(
    store: Path,
    log: LogProducer | Callable[[], LogProducer] | None = None,
    trace: OpenTracing = open_tracing,
    **settings: Any,
) -> Iterator[RunningPredictor]:
    """Run the application on a fake reader; looking for other models is left to the test."""
    reader = FakeReader()
    settings.setdefault("model_reload_seconds", 3600)
    settings.setdefault("routing_seconds", 3600)
    settings.setdefault("rehearsal_seconds", 0)
    routing = PublishedRouting()
    configured = PredictorSettings.load(model_store=str(store), **settings)
    opened = {} if log is None else {"open_log": lambda _: log() if callable(log) else log}
    context = build_context(
        configured, reader, clock=lambda: NOW_US * 1000, fetch_routing=routing, trace=trace, **opened
    )
    with TestClient(create_app(context)) as client:
        yield RunningPredictor(client, context, reader, routing)
