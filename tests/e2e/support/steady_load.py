"""Requests at a steady rate in the background, and what was answered."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from support.waiting import wait_until


@dataclass
class SteadyLoad:
    """Posts to a path, to ask for predictions, at a rate, from several threads, until left.

    Each thread has a client of its own, with the address, headers and timeout of ``client``: in a pool that threads
    share, one may close an expired connection that another reads from. A request that fails is not tried again.
    """

    client: httpx.Client
    rate: float
    pairs: Sequence[tuple[str, str]]
    threads: int = 8
    path: str = "/predict"
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
        self.stop()
        self.client.close()

    def stop(self) -> None:
        """Ask no more; what is under way is waited for."""
        if self._stop.is_set():
            return
        self._stop.set()
        for thread in self._running:
            thread.join()
        self.seconds = time.monotonic() - self._started

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def await_answers(self, count: int, seconds: float = 60) -> None:
        before = self.answered
        wait_until(f"{count} more answers", lambda: self.answered >= before + count, seconds)

    def _ask(self) -> None:
        template = self.client
        with httpx.Client(
            base_url=template.base_url, headers=template.headers, timeout=template.timeout
        ) as client:
            self._ask_with(client)

    def _ask_with(self, client: httpx.Client) -> None:
        while not self._stop.is_set():
            turn = next(self._turn)
            wait = self._started + turn / self.rate - time.monotonic()
            if wait > 0 and self._stop.wait(wait):
                return
            body = self.body(turn)
            self._count(*self._once(client, turn, body))

    def body(self, turn: int) -> dict[str, Any]:
        user, product = self.pairs[turn % len(self.pairs)]
        return {"user_id": user, "product_id": product}

    def heed(self, turn: int, body: dict[str, Any], answer: dict[str, Any]) -> None:
        """Do what follows from an answer; here nothing does."""

    def _once(self, client: httpx.Client, turn: int, body: dict[str, Any]) -> tuple[str, str]:
        try:
            answer = client.post(self.path, json=body)
        except httpx.HTTPError as error:
            return type(error).__name__, repr(error)
        if not answer.is_success:
            return str(answer.status_code), answer.text[:300]
        self.heed(turn, body, answer.json())
        return str(answer.status_code), ""

    def _count(self, status: str, failure: str) -> None:
        with self._lock:
            self.statuses[status] += 1
            if failure:
                self.failures.append(f"{time.monotonic() - self._started:.1f} s: {status} {failure}")
