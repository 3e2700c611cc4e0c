"""A predictor without models: applies routing documents, reports them, and exports metrics of pretended requests."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from redis import Redis

from reprise.predictor.metrics import ArmMetrics
from reprise.routing import DistinctUsers, RoutingDocument, RoutingReport, assign, document_key
from support.rollout_world import report_of

CORRUPT, ERRING, SLOW, GARBAGE = "corrupt", "erring", "slow", "garbage"
_POLL_SECONDS = 0.5


class PretendPredictor:
    """Answers ``GET /routing`` and ``GET /metrics``, polls Redis, and serves pretended users.

    Args:
        redis: Where the document is.
        project: The Feast project.
        behaviours: By digest, what is wrong with a bundle.
        rate: Requests a second.
        seed: Of who asks, and of what is answered; not the same of all predictors, whose scores would be equal.
    """

    def __init__(
        self, redis: Redis, project: str, behaviours: Mapping[str, str], rate: float, seed: int = 0
    ) -> None:
        self._redis = redis
        self._key = document_key(project)
        self._behaviours = behaviours
        self._rate = rate
        self._chance = random.Random(seed)
        self._document: RoutingDocument | None = None
        self._seen = DistinctUsers()
        self._stopping = threading.Event()
        registry = CollectorRegistry()
        self._metrics = ArmMetrics(registry)
        self._metrics_app = make_wsgi_app(registry)
        self._server = make_server("127.0.0.1", 0, self._respond, ThreadingWSGIServer, _QuietHandler)
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._server.serve_forever, self._run)
        ]
        self.generations: list[tuple[float, int]] = []

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def report(self) -> RoutingReport:
        corrupt = [digest for digest, behaviour in self._behaviours.items() if behaviour == CORRUPT]
        return report_of(self._document, failed=corrupt)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(5)

    def _respond(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/routing":
            return self._metrics_app(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [self.report.to_bytes()]

    def _run(self) -> None:
        polled = 0.0
        while not self._stopping.wait(1 / self._rate):
            if time.monotonic() - polled >= _POLL_SECONDS:
                polled = time.monotonic()
                self._poll()
            if self._document is not None and not self._document.released:
                self._answer()

    def _poll(self) -> None:
        data: Any = self._redis.get(self._key)
        if data is None or (document := RoutingDocument.from_bytes(data)) == self._document:
            return
        self._meters = [self._metrics.meter(arm.name, arm.digest) for arm in document.arms]
        self._seen.reset()
        self._document = document
        self.generations.append((time.monotonic(), document.generation))

    def _answer(self) -> None:
        assert self._document is not None
        user = f"user-{self._chance.randrange(5000)}"
        number = assign(self._document)(user)
        behaviour = self._behaviours.get(self._document.arms[number].digest)
        meter = self._meters[number]
        if self._seen.is_new(user):
            meter.users.inc()
        meter.observe_seconds(1.5 if behaviour == SLOW else 0.001)
        if behaviour == CORRUPT or (behaviour == ERRING and self._chance.random() < 1 / 3):
            meter.failed.inc()
        else:
            meter.answered.inc()
            meter.observe_score(0.99 if behaviour == GARBAGE else self._chance.random())


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Keep requests out of the tests' output."""
