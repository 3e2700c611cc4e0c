"""What Prometheus has of each arm."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import httpx

from reprise.rollout.exceptions import MetricsError
from reprise.rollout.state_machine.observed_state import ArmSample, Measurement
from reprise.routing.metric_names import ANSWERS, SCORE_BOUNDS, SCORES, SECONDS, USERS


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a metrics provider.

    Attributes:
        candidate: The candidate's name and digest.
        baseline: The baseline's name and digest.
        window: Over how long.
        users_window: Since when users may be counted; ``None`` where they cannot be yet.
    """

    candidate: tuple[str, str]
    baseline: tuple[str, str]
    window: timedelta
    users_window: timedelta | None


class MetricsProvider(Protocol):
    """Measures a candidate beside the baseline."""

    def measure(self, question: Question) -> Measurement:
        """Return what was measured.

        Raises:
            MetricsError: Nothing can be said.
        """


class NoMetrics:
    """Stands for a Prometheus that is not configured."""

    def measure(self, question: Question) -> Measurement:
        """Say that there is nothing to be said."""
        raise MetricsError(f"no Prometheus is configured, so {question.candidate[0]} cannot be measured")


class Prometheus:
    """Asks the HTTP API of a Prometheus.

    Args:
        url: Its address.
        timeout: Longest wait for an answer, seconds.
        matchers: Label matchers that pick this installation's predictors.
    """

    def __init__(self, url: str, timeout: float, matchers: str = "") -> None:
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=timeout, trust_env=False)
        self._matchers = matchers

    def measure(self, question: Question) -> Measurement:
        """Return what was measured.

        Raises:
            MetricsError: Prometheus is away, or refuses.
        """
        window = question.window
        users = others = None
        if question.users_window is not None:
            users, others = self._users(question.candidate, question.users_window)
        return Measurement(
            candidate=self._sample(question.candidate, window),
            baseline=self._sample(question.baseline, window),
            users=users,
            other_users=others,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _sample(self, arm: tuple[str, str], window: timedelta) -> ArmSample:
        span = _span(window)
        outcomes = self._ask(
            f"sum by (outcome) (increase({ANSWERS}_total{self._of(arm)}[{span}]))", "outcome"
        )
        bins = self._ask(f"sum by (le) (increase({SCORES}_bucket{self._of(arm)}[{span}]))", "le")
        quantile = self._ask(
            f"histogram_quantile(0.99, sum by (le) (increase({SECONDS}_bucket{self._of(arm)}[{span}])))", None
        )
        return ArmSample(
            answered=outcomes.get("answered", 0.0),
            failed=outcomes.get("failed", 0.0),
            p99=quantile.get(""),
            scores=_counts(bins),
        )

    def _users(self, arm: tuple[str, str], window: timedelta) -> tuple[float, float]:
        counted = self._ask(
            f"sum by (arm) (increase({USERS}_total{{{self._matchers}}}[{_span(window)}]))", "arm"
        )
        own = counted.pop(arm[0], 0.0)
        return own, sum(counted.values())

    def _of(self, arm: tuple[str, str]) -> str:
        own = [f'arm="{arm[0]}"', f'digest="{arm[1]}"']
        return "{" + ",".join([*own, *filter(None, [self._matchers])]) + "}"

    def _ask(self, query: str, label: str | None) -> dict[str, float]:
        try:
            response = self._client.get("/api/v1/query", params={"query": query})
            content: Any = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise MetricsError(f"{self._client.base_url}: {error or type(error).__name__}") from error
        if not isinstance(content, dict) or content.get("status") != "success":
            said = content.get("error") if isinstance(content, dict) else response.text[:200]
            raise MetricsError(f"{self._client.base_url} refuses {query!r}: {said}")
        results: Sequence[Any] = content["data"]["result"]
        values = {
            entry["metric"].get(label, "") if label else "": float(entry["value"][1]) for entry in results
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}


def _counts(cumulative: dict[str, float]) -> tuple[float, ...]:
    """Return how many fell into each bin, from Prometheus's cumulative buckets."""
    by_bound = sorted((float(bound), count) for bound, count in cumulative.items() if bound != "+Inf")
    if len(by_bound) != len(SCORE_BOUNDS):
        return ()
    counts, below = [], 0.0
    for _, count in by_bound:
        # extrapolation can make a bucket a hair smaller than the one before
        counts.append(max(0.0, count - below))
        below = max(below, count)
    return tuple(counts)


def _span(window: timedelta) -> str:
    return f"{max(1, round(window.total_seconds()))}s"
