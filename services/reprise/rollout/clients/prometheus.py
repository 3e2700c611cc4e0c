"""Measurements of the arms from Prometheus."""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from reprise.rollout.exceptions import MetricsError
from reprise.rollout.state_machine.observed_state import ArmMeasurement, Measurement
from reprise.routing.metric_names import ANSWERS, SCORE_BOUNDS, SCORES, SECONDS, USERS


@dataclass(frozen=True, slots=True)
class MeasurementQuery:
    """What to measure: name and digest of both arms, and the window of rates and quantiles.

    ``users_window`` is the time since the weights last changed, in which users are counted; ``None`` if too short.
    """

    candidate: tuple[str, str]
    baseline: tuple[str, str]
    window: timedelta
    users_window: timedelta | None


def no_metrics(query: MeasurementQuery) -> Measurement:
    """Stand in for a Prometheus that is not configured: raise ``MetricsError``."""
    raise MetricsError(f"no Prometheus is configured, so {query.candidate[0]} cannot be measured")


class PrometheusProvider:
    """Queries the HTTP API of a Prometheus; the timeout of a query is in seconds."""

    def __init__(self, url: str, timeout: float, matchers: str = "") -> None:
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=timeout, trust_env=False)
        self._matchers = matchers

    def measure(self, query: MeasurementQuery) -> Measurement:
        """Return the measurement.

        Raises:
            MetricsError: Prometheus is unavailable, or refuses a query.
        """
        users = others = None
        counters = 1.0
        if query.users_window is not None:
            range_ = f"{USERS}_total{{{self._matchers}}}[{_duration(query.users_window)}]"
            counts = self._query(f"sum by (arm) (increase({range_}))", "arm")
            users, others = counts.pop(query.candidate[0], 0.0), sum(counts.values())
            processes = self._query(f"sum(max by (instance) (1 + resets({range_})))", None)
            counters = max(counters, processes.get("", 0.0))
        return Measurement(
            candidate=self._measure_arm(query.candidate, query.window),
            baseline=self._measure_arm(query.baseline, query.window),
            users=users,
            other_users=others,
            counters=counters,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _measure_arm(self, arm: tuple[str, str], window: timedelta) -> ArmMeasurement:
        labels = ",".join(filter(None, [f'arm="{arm[0]}"', f'digest="{arm[1]}"', self._matchers]))
        range_ = f"{{{labels}}}[{_duration(window)}]"
        outcomes = self._query(f"sum by (outcome) (increase({ANSWERS}_total{range_}))", "outcome")
        buckets = self._query(f"sum by (le) (increase({SCORES}_bucket{range_}))", "le")
        quantile = f"histogram_quantile(0.99, sum by (le) (increase({SECONDS}_bucket{range_})))"
        return ArmMeasurement(
            answered=outcomes.get("answered", 0.0),
            failed=outcomes.get("failed", 0.0),
            p99=self._query(quantile, None).get(""),
            scores=_bin_counts(buckets),
        )

    def _query(self, query: str, label: str | None) -> dict[str, float]:
        try:
            response = self._client.get("/api/v1/query", params={"query": query})
            content: Any = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise MetricsError(f"{self._client.base_url}: {error or type(error).__name__}") from error
        if not isinstance(content, dict) or content.get("status") != "success":
            reason = content.get("error") if isinstance(content, dict) else response.text[:200]
            raise MetricsError(f"{self._client.base_url} refuses {query!r}: {reason}")
        values = {
            entry["metric"].get(label, "") if label else "": float(entry["value"][1])
            for entry in content["data"]["result"]
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}


def _bin_counts(cumulative: dict[str, float]) -> tuple[float, ...]:
    by_bound = sorted((float(bound), count) for bound, count in cumulative.items() if bound != "+Inf")
    if len(by_bound) != len(SCORE_BOUNDS):
        return ()
    counts, below = [], 0.0
    for _, count in by_bound:
        # Extrapolation can make a bucket slightly smaller than the one below it.
        counts.append(max(0.0, count - below))
        below = max(below, count)
    return tuple(counts)


def _duration(window: timedelta) -> str:
    return f"{max(1, round(window.total_seconds()))}s"
