"""A shop's traffic in the background: predictions that are asked for and events that are sent, through the Ingress."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx

from support.waiting import wait_until


class Customers:
    """Asks for predictions and sends events at a steady rate, each in a thread of its own, until left.

    What is answered is counted, also failures: an incident is to be seen by Prometheus, not to end the traffic.

    Attributes:
        statuses: Answers to questions, by HTTP status or the name of what went wrong.
        accepted: Events that were accepted.
        age_seconds: How old the events are that are sent.
        sending: Whether events are sent; not before the store is filled from history, which comes before them.
        asking: Whether predictions are asked for.
        questions: What is asked, in turn: bodies of requests for a prediction.
    """

    def __init__(
        self, open_client: Callable[[], httpx.Client], pairs: Sequence[tuple[str, str]], rate: float = 15.0
    ) -> None:
        self._open_client = open_client
        self._pairs = pairs
        self.questions = questions_about(pairs)
        self._period = 1 / rate
        self._random = random.Random(7)
        self.statuses: Counter[str] = Counter()
        self.accepted = 0
        self.age_seconds = 0.0
        self.sending = False
        self.asking = True

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in (self._ask, self._send)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_answers(self, count: int, seconds: float) -> None:
        before = self.statuses["200"]
        wait_until(f"{count} more answers", lambda: self.statuses["200"] >= before + count, seconds)

    def await_sent(self, count: int, seconds: float) -> None:
        before = self.accepted
        wait_until(f"{count} more events", lambda: self.accepted >= before + count, seconds)

    def _run(self, once: Callable[[httpx.Client, int], None]) -> None:
        with self._open_client() as client:
            started, turn = time.monotonic(), 0
            while not self._stop.is_set():
                once(client, turn)
                turn += 1
                behind = time.monotonic() - started - turn * self._period
                if behind > 1:
                    # what was late during an incident is not made up for
                    started += behind
                self._stop.wait(max(0.0, -behind))

    def _ask(self, client: httpx.Client, turn: int) -> None:
        if not self.asking:
            return
        body = self.questions[turn % len(self.questions)]
        if turn % 10 == 9:
            self._count(client, "/predict/batch", {"requests": self.questions[:20]})
        elif turn % 10 == 4:
            body = {**body, "user_id": "nobody"}
        self._count(client, "/predict", body)

    def _count(self, client: httpx.Client, path: str, body: dict[str, Any]) -> None:
        try:
            self.statuses[str(client.post(path, json=body).status_code)] += 1
        except httpx.HTTPError as error:
            self.statuses[type(error).__name__] += 1

    def _send(self, client: httpx.Client, turn: int) -> None:
        if not self.sending:
            return
        user, product = self._pairs[self._random.randrange(len(self._pairs))]
        event = new_event(user, product, 9.5 if turn % 3 == 0 else None, age_seconds=self.age_seconds)
        try:
            self.accepted += client.post("/events", json=event).status_code == 202
        except httpx.HTTPError as error:
            self.statuses[f"event {type(error).__name__}"] += 1


def new_event(
    user: str, product: str, amount: float | None = None, *, age_seconds: float = 0.0
) -> dict[str, Any]:
    """Return the body of an event: a purchase if it has an amount, otherwise a view."""
    return {
        "event_id": str(uuid.uuid4()),
        "user_id": user,
        "product_id": product,
        "event_type": "view" if amount is None else "purchase",
        "amount": amount,
        "timestamp": (datetime.now(UTC) - timedelta(seconds=age_seconds)).isoformat(),
    }


def questions_about(pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"user_id": user, "product_id": product} for user, product in pairs]


PAIRS = [(f"u{user:06d}", f"p{user % 120:05d}") for user in range(600)]
"""Whom the history of the cluster knows, each with a product."""
