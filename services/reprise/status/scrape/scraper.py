"""Asks every process what it has to tell."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import orjson
from pydantic import ValidationError

from reprise.routing import InvalidRoutingError, RoutingReport
from reprise.runtime.logs import get_logger
from reprise.status.exceptions import NothingOfOursError, UnreadableError
from reprise.status.metrics import StatusMetrics
from reprise.status.scrape.exposition import Samples, parse
from reprise.status.scrape.snapshot import ModelInfo, ProcessSnapshot, ServiceSnapshot, Snapshot
from reprise.status.scrape.targets import Resolve, Target, base_url

_log = get_logger(__name__)
_MAX_BYTES = 8 * 1024 * 1024
_MAX_MODELS = 32
_PREDICTOR = "predictor"


class Scraper:
    """Looks at all targets at once.

    What a model is like is asked once for each digest: it does not change, and predictors without a port of their own
    for metrics count the question among their requests.

    Args:
        client: Asks.
        timeout_seconds: How long an answer may take.
        targets: The services.
        resolve: Finds the processes of a target.
        pushgateway_url: Where jobs' metrics are.
        metrics: Where looks are counted.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        timeout_seconds: float,
        targets: Sequence[Target],
        resolve: Resolve,
        pushgateway_url: str | None,
        metrics: StatusMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._targets = targets
        self._resolve = resolve
        self._pushgateway_url = pushgateway_url
        self._metrics = metrics
        self._clock = clock
        self._models: dict[str, ModelInfo] = {}

    async def look(self) -> Snapshot:
        """Return what is found now; what cannot be found out says why, and never raises."""
        names = list(dict.fromkeys(target.service for target in self._targets))
        (jobs, jobs_problem), services = await asyncio.gather(
            self._jobs(), asyncio.gather(*(self._service(name) for name in names))
        )
        return Snapshot(self._clock(), tuple(services), jobs, jobs_problem, dict(self._models))

    async def _service(self, name: str) -> ServiceSnapshot:
        targets = [target for target in self._targets if target.service == name]
        resolved = await asyncio.gather(*(self._addresses(target) for target in targets))
        addresses = list(
            dict.fromkeys(
                (address, target.port)
                for target, (found, _) in zip(targets, resolved, strict=True)
                for address in found
            )
        )
        processes = await asyncio.gather(*(self._process(name, *address) for address in addresses))
        return ServiceSnapshot(name, tuple(processes), tuple(problem for _, problem in resolved if problem))

    async def _addresses(self, target: Target) -> tuple[list[str], str | None]:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._resolve(target.host, target.port), None
        except TimeoutError:
            return [], f"the name {target.host} is not resolved in time"
        except UnreadableError as error:
            return [], str(error)

    async def _process(self, service: str, address: str, port: int) -> ProcessSnapshot:
        url = base_url(address, port)
        shown = url.removeprefix("http://")
        try:
            samples = parse((await self._get(f"{url}/metrics")).text)
        except UnreadableError as error:
            self._metrics.failed(service)
            return ProcessSnapshot(shown, problem=str(error))
        self._metrics.answered(service)
        ready, reason = await self._ready(url, samples)
        routing = await self._routing(url) if service == _PREDICTOR else None
        process = ProcessSnapshot(shown, samples, None, ready, reason, routing)
        if process.model is not None and process.model not in self._models:
            await self._ask_for_model(url)
        return process

    async def _ready(self, url: str, samples: Samples) -> tuple[bool, str | None]:
        try:
            await self._get(f"{url}/ready")
        except _NoSuchAddressError:
            # Some serve nothing but metrics on this port.
            ready = samples.one("reprise_ready") in {None, 1.0}
            return ready, None if ready else "it does not say why"
        except UnreadableError as error:
            return False, str(error)
        return True, None

    async def _routing(self, url: str) -> RoutingReport | None:
        try:
            return RoutingReport.from_bytes((await self._get(f"{url}/routing")).content)
        except (UnreadableError, InvalidRoutingError) as error:
            _log.info("routing_unread", address=url, reason=str(error))
            return None

    async def _ask_for_model(self, url: str) -> None:
        try:
            model = ModelInfo.model_validate_json((await self._get(f"{url}/model/info")).content)
        except (UnreadableError, ValidationError) as error:
            _log.info("model_unread", address=url, reason=str(error))
            return
        self._models[model.digest] = model
        while len(self._models) > _MAX_MODELS:
            del self._models[next(iter(self._models))]

    async def _jobs(self) -> tuple[Samples | None, str | None]:
        if self._pushgateway_url is None:
            return None, "no Pushgateway is configured"
        try:
            return parse((await self._get(f"{self._pushgateway_url}/metrics")).text), None
        except NothingOfOursError:
            return None, "no job has pushed anything to the Pushgateway yet"
        except UnreadableError as error:
            return None, f"the Pushgateway: {error}"

    async def _get(self, url: str) -> httpx.Response:
        try:
            async with asyncio.timeout(self._timeout_seconds), self._client.stream("GET", url) as response:
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _MAX_BYTES:
                        raise UnreadableError("its answer is too long")
        except (TimeoutError, httpx.TimeoutException):
            raise UnreadableError("it does not answer in time") from None
        except httpx.ConnectError:
            raise UnreadableError("it refuses the connection") from None
        except (httpx.HTTPError, OSError) as error:
            raise UnreadableError(f"the connection broke ({type(error).__name__})") from None
        if response.status_code == 404:
            raise _NoSuchAddressError("it has no such address")
        if not response.is_success:
            raise UnreadableError(_reason(response.status_code, body))
        return httpx.Response(200, content=body)


class _NoSuchAddressError(UnreadableError):
    pass


def _reason(status: int, body: bytes) -> str:
    """Return the detail of a problem document, or the status of an answer that is none."""
    try:
        document: Any = orjson.loads(body)
        detail = document["detail"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"it answers {status}"
    return str(detail)[:300]
