"""Traffic of every kind, for a platform that is watched."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

_PAIRS = 2_000
_BATCH = 100
_EVERY_SECONDS = 0.02


class Traffic:
    """Asks for predictions, and for what cannot be answered, and sends broken events, until it is stopped.

    Args:
        history: Events, whose users and products it asks about.
        predictor: Address of the predictor.
        producer: Address of the producer.
    """

    def __init__(self, history: Path, predictor: str, producer: str) -> None:
        table = pq.read_table(history, columns=["user_id", "product_id"])
        self._pairs = table.to_pylist()[:: max(1, len(table) // _PAIRS)]
        self._predictor = predictor
        self._producer = producer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: Exception | None = None

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Let it flow until left."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(15)

    def check(self) -> None:
        """Raise the first failure that there was, if any; a platform that is broken on purpose has some."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        at = 0
        with httpx.Client(timeout=10, trust_env=False) as client:
            while not self._stop.wait(_EVERY_SECONDS):
                try:
                    self._ask(client, at)
                except httpx.HTTPError as error:
                    self._failure = self._failure or error
                at += 1

    def _ask(self, client: httpx.Client, at: int) -> None:
        self._predict(client, "/predict", self._pair(at))
        if at % 50 == 0:
            batch = {"requests": [self._pair(at + number) for number in range(_BATCH)]}
            self._predict(client, "/predict/batch", batch)
            client.post(f"{self._predictor}/predict", json={"user_id": "nobody", "product_id": "nothing"})
            client.post(f"{self._predictor}/predict", json={"user_id": 7})
            client.post(
                f"{self._producer}/events", json={"user_id": "u", "product_id": "p", "event_type": "?"}
            )

    def _predict(self, client: httpx.Client, path: str, body: dict[str, Any]) -> None:
        answer = client.post(f"{self._predictor}{path}", json=body)
        # A predictor that is late refuses and says when to come back, which is what the next request does.
        if answer.status_code != 503 or "retry-after" not in answer.headers:
            answer.raise_for_status()

    def _pair(self, at: int) -> dict[str, str]:
        pair: dict[str, str] = self._pairs[at % len(self._pairs)]
        return pair
