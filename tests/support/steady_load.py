"""Requests at a steady rate in the background, and what was answered."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

import httpx


@dataclass
class SteadyLoad:
    """Asks for predictions at a rate, from several threads with kept connections, until left.

    A request that fails is not tried again: every one counts.
    """

    client: httpx.Client
    rate: float
    pairs: list[tuple[str, str]]
    threads: int = 8
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._running = [threading.Thread(target=self._ask) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._running:
            thread.join()
        self.seconds = time.monotonic() - self._started
        self.client.close()

    @property
    def answered(self) -> int:
        """How many requests have ended, in whatever way."""
        return sum(self.statuses.values())

    def _ask(self) -> None:
        while not self._stop.is_set():
            turn = next(self._turn)
            wait = self._started + turn / self.rate - time.monotonic()
            if wait > 0 and self._stop.wait(wait):
                return
            user, product = self.pairs[turn % len(self.pairs)]
            self._count(*self._once({"user_id": user, "product_id": product}))

    def _once(self, body: dict[str, Any]) -> tuple[str, str]:
        try:
            answer = self.client.post("/predict", json=body)
        except httpx.HTTPError as error:
            return type(error).__name__, repr(error)
        return str(answer.status_code), "" if answer.is_success else answer.text[:300]

    def _count(self, status: str, failure: str) -> None:
        with self._lock:
            self.statuses[status] += 1
            if failure:
                self.failures.append(f"{time.monotonic() - self._started:.1f} s: {status} {failure}")
