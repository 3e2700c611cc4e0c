"""Latency of the running platform, measured from outside over HTTP."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import numpy as np

from reprise.cli.demo.exceptions import NotReadyError

_READY_SECONDS = 60.0
_FRESH_SECONDS = 10.0


@dataclass(frozen=True)
class Latency:
    """Percentiles of a duration, milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """Return the percentiles of durations in seconds."""
        p50, p95, p99 = np.percentile(np.array(seconds) * 1e3, [50, 95, 99])
        return cls(len(seconds), float(p50), float(p95), float(p99))


def wait_ready(client: httpx.Client, url: str, check: Callable[[], None]) -> None:
    """Wait for ``/ready`` of the service at ``url``; ``check`` is called between attempts and may raise.

    Raises:
        NotReadyError: It does not become ready within a minute.
    """
    deadline = time.monotonic() + _READY_SECONDS
    reason = "no answer"
    while time.monotonic() < deadline:
        check()
        try:
            answer = client.get(f"{url}/ready")
        except httpx.TransportError as error:
            reason = str(error)
        else:
            if answer.is_success:
                return
            reason = answer.text
        time.sleep(0.1)
    raise NotReadyError(f"{url} is not ready after {_READY_SECONDS:g} s: {reason}")


def measure_predictions(
    client: httpx.Client, url: str, pairs: Sequence[tuple[str, str]]
) -> tuple[Latency, dict[str, Any], dict[str, Any]]:
    """Request predictions one after the other; return their latency and the last request with its response.

    Raises:
        httpx.HTTPStatusError: One was not answered with a prediction.
    """
    seconds = []
    request: dict[str, Any] = {}
    answer: dict[str, Any] = {}
    for user_id, product_id in pairs:
        request = {"user_id": user_id, "product_id": product_id, "event_type": "view"}
        started = time.perf_counter()
        response = client.post(f"{url}/predict", json=request)
        seconds.append(time.perf_counter() - started)
        answer = response.raise_for_status().json()
    return Latency.of(seconds), request, answer


def measure_freshness(client: httpx.Client, producer: str, predictor: str, probes: int) -> Latency:
    """Send purchases of a probe user, and time each until ``/features`` shows it.

    The time includes the producer, the log, the fold and the read.

    Raises:
        NotReadyError: An event is not readable within ten seconds.
        httpx.HTTPStatusError: A service refused.
    """
    user = f"demo-probe-{uuid4().hex[:8]}"
    seconds = []
    for at in range(1, probes + 1):
        started = time.perf_counter()
        event = {
            "event_id": f"{user}-{at}",
            "user_id": user,
            "product_id": "demo-probe",
            "event_type": "purchase",
            "amount": 1.0,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        client.post(f"{producer}/events", json=event).raise_for_status()
        while _total_spend(client, predictor, user) < at:
            if time.perf_counter() - started > _FRESH_SECONDS:
                raise NotReadyError(f"event {at} of {user} is not readable after {_FRESH_SECONDS:g} s")
            time.sleep(0.001)
        seconds.append(time.perf_counter() - started)
    return Latency.of(seconds)


def _total_spend(client: httpx.Client, predictor: str, user: str) -> float:
    answer = client.get(f"{predictor}/features/{user}")
    answer.raise_for_status()
    return float(answer.json()["features"]["total_spend"] or 0.0)
