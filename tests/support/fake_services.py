"""Predictor and producer as the doctor sees them, without a network."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson


class FakePlatform:
    """Folds an event that it is sent after so many looks at its features.

    Attributes:
        events: What the producer has taken.
        looks: How often features are asked for before the event is known; ``None`` for never.
        ready: What ``/ready`` answers.
        info: What ``/model/info`` answers.
        answers: Answers of single paths that come before all else.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.looks: int | None = 0
        self.ready = httpx.Response(200, json={"status": "ready"})
        self.info: list[dict[str, Any]] = [{"digest": "", "schema_hash": "", "refused": None}]
        self.known = True
        self.answers: dict[str, httpx.Response] = {}
        self.headers: list[httpx.Headers] = []
        self.failure: Exception | None = None

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(
            base_url="http://reprise", transport=httpx.MockTransport(self._answer), headers=headers
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.failure is not None:
            raise self.failure
        self.headers.append(request.headers)
        path = request.url.path
        if path in self.answers:
            return self.answers[path]
        routes: dict[str, Callable[[httpx.Request], httpx.Response]] = {
            "/ready": lambda _: self.ready,
            "/events": self._take,
            "/model/info": self._tell,
            "/predict": self._predict,
        }
        return routes.get(path, self._features)(request)

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.events.append(orjson.loads(request.content))
        return httpx.Response(202, json={"accepted": 1})

    def _tell(self, _: httpx.Request) -> httpx.Response:
        told = self.info[0]
        if len(self.info) > 1:
            del self.info[0]
        return httpx.Response(200, json=told)

    def _features(self, request: httpx.Request) -> httpx.Response:
        user = request.url.path.removeprefix("/features/")
        known = self.looks == 0 and user in {event["user_id"] for event in self.events}
        if self.looks:
            self.looks -= 1
        return httpx.Response(200, json={"known": {"user": known, "product": known, "pair": known}})

    def _predict(self, request: httpx.Request) -> httpx.Response:
        asked = orjson.loads(request.content)
        known = dict.fromkeys(("user", "product", "pair"), self.known)
        return httpx.Response(200, json={**asked, "probability": 0.25, "known": known})
