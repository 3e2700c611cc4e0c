"""What the predictors say of themselves."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import httpx

from reprise.rollout.clients.kubernetes import Pod
from reprise.rollout.state_machine.observed_state import PodReport
from reprise.routing import InvalidRoutingError, RoutingReport

_AT_ONCE = 16


class Predictors(Protocol):
    """Asks predictors."""

    def ask(self, pods: Sequence[Pod]) -> tuple[PodReport, ...]:
        """Return what each predictor says."""


class HttpPredictors:
    """Asks predictors over HTTP, several at once.

    Args:
        timeout: Longest wait for each, seconds.
    """

    def __init__(self, timeout: float) -> None:
        self._client = httpx.Client(
            timeout=timeout, trust_env=False, limits=httpx.Limits(max_connections=_AT_ONCE)
        )
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="predictors")

    def ask(self, pods: Sequence[Pod]) -> tuple[PodReport, ...]:
        """Return what each predictor says, in order; one that does not answer is reported with the reason."""
        return tuple(self._threads.map(self._ask, pods))

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _ask(self, pod: Pod) -> PodReport:
        if pod.url is None:
            return PodReport(pod.name, None, "the pod has no container port of the configured name")
        try:
            response = self._client.get(f"{pod.url}/routing")
            response.raise_for_status()
            return PodReport(pod.name, RoutingReport.from_bytes(response.content))
        except httpx.HTTPError as error:
            return PodReport(pod.name, None, f"GET {pod.url}/routing: {error or type(error).__name__}")
        except InvalidRoutingError as error:
            return PodReport(pod.name, None, f"GET {pod.url}/routing: {error}")
