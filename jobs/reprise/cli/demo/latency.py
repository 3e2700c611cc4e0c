"""Latency of the running platform, measured from outside over HTTP."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import numpy as np

from reprise.cli.demo.waiting import wait_until

_READY_SECONDS = 60.0
_FRESH_SECONDS = 10.0


def percentiles(seconds: Sequence[float]) -> str:
    """Return the percentiles of durations for people, in milliseconds."""
    p50, p95, p99 = np.percentile(np.array(seconds) * 1e3, [50, 95, 99])
    return f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms (n={len(seconds)})"


def wait_ready(client: httpx.Client, url: str, check: Callable[[], None]) -> None:
    """Wait for ``/ready`` of the service at ``url``; ``check`` is called between attempts and may raise."""
    reason = "no answer"

    def ready() -> bool:
        nonlocal reason
        check()
        try:
            answer = client.get(f"{url}/ready")
        except httpx.TransportError as error:
            reason = str(error)
            return False
        reason = answer.text
        return answer.is_success

    wait_until(ready, _READY_SECONDS, lambda: f"{url} is not ready ({reason})")


def measure_predictions(
    client: httpx.Client, url: str, pairs: Sequence[tuple[str, str]]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Request predictions one after the other; return their latency and the last request with its response."""
    seconds = []
    request: dict[str, Any] = {}
    answer: dict[str, Any] = {}
    for user_id, product_id in pairs:
        request = {"user_id": user_id, "product_id": product_id, "event_type": "view"}
        started = time.perf_counter()
        response = client.post(f"{url}/predict", json=request)
        seconds.append(time.perf_counter() - started)
        answer = response.raise_for_status().json()
    return percentiles(seconds), request, answer


def measure_freshness(client: httpx.Client, producer: str, predictor: str, probes: int) -> str:
    """Send purchases of a probe user, and time each until ``/features`` shows it.

    The time includes the producer, the log, the fold and the read.
    """
    user = f"demo-probe-{uuid4().hex[:8]}"
    purchases = 0

    def readable() -> bool:
        features = client.get(f"{predictor}/features/{user}").raise_for_status().json()["features"]
        return float(features["total_spend"] or 0.0) >= purchases

    seconds = []
    for purchases in range(1, probes + 1):
        started = time.perf_counter()
        event = purchase(f"{user}-{purchases}", user, "demo-probe", 1.0)
        client.post(f"{producer}/events", json=event).raise_for_status()
        wait_until(readable, _FRESH_SECONDS, f"event {purchases} of {user} is not readable", every=0.001)
        seconds.append(time.perf_counter() - started)
    return percentiles(seconds)


def purchase(event_id: str, user: str, product: str, amount: float) -> dict[str, Any]:
    """Return a purchase that happens now, as the producer accepts it."""
    return {
        "event_id": event_id,
        "user_id": user,
        "product_id": product,
        "event_type": "purchase",
        "amount": amount,
        "timestamp": datetime.now(UTC).isoformat(),
    }
