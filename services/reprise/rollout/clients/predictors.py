"""Routing reports of the predictors."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from reprise.rollout.clients.kubernetes import Pod
from reprise.rollout.state_machine.observed_state import PodReport
from reprise.routing import InvalidRoutingError, RoutingReport

_CONCURRENCY = 16


class PredictorClient:
    """Gets routing reports over HTTP, several at a time; the timeout of a request is in seconds."""

    def __init__(self, timeout: float) -> None:
        limits = httpx.Limits(max_connections=_CONCURRENCY)
        self._client = httpx.Client(timeout=timeout, trust_env=False, limits=limits)
        self._threads = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="predictors")

    def get_reports(self, pods: Sequence[Pod]) -> tuple[PodReport, ...]:
        """Return the report of each predictor in order, or the reason why it did not answer."""
        return tuple(self._threads.map(self._get_report, pods))

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _get_report(self, pod: Pod) -> PodReport:
        if pod.url is None:
            return PodReport(pod.name, None, "the pod has no container port of the configured name")
        try:
            response = self._client.get(f"{pod.url}/routing")
            response.raise_for_status()
            return PodReport(pod.name, RoutingReport.from_bytes(response.content))
        except (httpx.HTTPError, InvalidRoutingError) as error:
            return PodReport(pod.name, None, f"GET {pod.url}/routing: {error or type(error).__name__}")
