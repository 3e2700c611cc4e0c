"""A process's worth of predictor: applies routing documents, says so, and measures arms that behave as a test says."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from redis import Redis

from reprise.routing import ArmReport, DistinctUsers, RoutingDocument, RoutingReport, assign, document_key
from reprise.routing.metric_names import ANSWERS, SCORE_BOUNDS, SCORES, SECONDS, USERS

CORRUPT, ERRING, SLOW, GARBAGE = "corrupt", "erring", "slow", "garbage"
_POLL_SECONDS = 0.5


class PretendPredictor:
    """Answers ``GET /routing`` and ``GET /metrics``, polls Redis, and serves pretended users.

    Args:
        redis: Where the document is.
        project: The Feast project.
        behaviours: By digest, what is wrong with a bundle.
        rate: Requests a second.
        seed: Of who asks, and of what is answered.
    """

    def __init__(
        self, redis: Redis, project: str, behaviours: Mapping[str, str], rate: float, seed: int = 0
    ) -> None:
        self._redis = redis
        self._key = document_key(project)
        self._behaviours = behaviours
        self._rate = rate
        # Not the same of all predictors, which would count each score several times.
        self._chance = random.Random(seed)
        self._document: RoutingDocument | None = None
        self._arm_of: Callable[[str], int] = lambda _: 0
        self._seen = DistinctUsers()
        self._stopping = threading.Event()
        self._measured(CollectorRegistry())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._server.serve_forever, self._poll, self._serve)
        ]
        self.generations: list[tuple[float, int]] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.server_address[1]
        return port

    @property
    def report(self) -> RoutingReport:
        """What it has applied."""
        document = self._document
        if document is None:
            return RoutingReport(generation=None, fingerprint=None, rollout=None, arms=())
        arms = tuple(
            ArmReport(
                name=arm.name,
                digest=arm.digest,
                weight=arm.weight,
                shadow=arm.shadow,
                state="failed" if self._is(arm.digest, CORRUPT) else "loaded",
                reason="model.onnx: expected another sha256" if self._is(arm.digest, CORRUPT) else None,
            )
            for arm in document.arms
        )
        return RoutingReport(
            generation=document.generation,
            fingerprint=document.fingerprint,
            rollout=document.rollout,
            arms=arms,
        )

    def metrics(self) -> bytes:
        """What Prometheus scrapes."""
        return generate_latest(self._registry)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join(5)

    def _measured(self, registry: CollectorRegistry) -> None:
        labels = ("arm", "digest")
        self._registry = registry
        self._answers = Counter(ANSWERS, "Answers.", (*labels, "outcome"), registry=registry)
        self._users = Counter(USERS, "Users.", labels, registry=registry)
        self._scores = Histogram(SCORES, "Scores.", labels, buckets=SCORE_BOUNDS, registry=registry)
        self._seconds = Histogram(SECONDS, "Seconds.", labels, registry=registry)

    def _is(self, digest: str, behaviour: str) -> bool:
        return self._behaviours.get(digest) == behaviour

    def _poll(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            data: Any = self._redis.get(self._key)
            if data is None:
                continue
            document = RoutingDocument.from_bytes(data)
            if document == self._document:
                continue
            for arm in document.arms:
                for outcome in ("answered", "failed"):
                    self._answers.labels(arm.name, arm.digest, outcome)
                for metric in (self._users, self._scores, self._seconds):
                    metric.labels(arm.name, arm.digest)
            self._arm_of = (lambda _: 0) if document.released else assign(document)
            self._seen.reset()
            self._document = document
            self.generations.append((time.monotonic(), document.generation))

    def _serve(self) -> None:
        while True:
            if self._stopping.wait(1 / self._rate):
                return
            document = self._document
            if document is not None and not document.released:
                self._answer(document)

    def _answer(self, document: RoutingDocument) -> None:
        user = f"user-{self._chance.randrange(5000)}"
        arm = document.arms[self._arm_of(user)]
        labels = (arm.name, arm.digest)
        if self._seen.is_new(user):
            self._users.labels(*labels).inc()
        failed = self._is(arm.digest, CORRUPT) or (
            self._is(arm.digest, ERRING) and self._chance.random() < 1 / 3
        )
        self._answers.labels(*labels, "failed" if failed else "answered").inc()
        self._seconds.labels(*labels).observe(1.5 if self._is(arm.digest, SLOW) else 0.001)
        if not failed:
            self._scores.labels(*labels).observe(
                0.99 if self._is(arm.digest, GARBAGE) else self._chance.random()
            )


def _handler(predictor: PretendPredictor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = predictor.metrics() if self.path == "/metrics" else predictor.report.to_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain" if self.path == "/metrics" else "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
