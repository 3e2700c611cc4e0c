"""Scraping every process of the platform."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable

import httpx
import orjson
from prometheus_client import Counter
from pydantic import ValidationError

from reprise.routing import InvalidRoutingError, RoutingReport
from reprise.runtime.logs import get_logger
from reprise.status.scrape.exposition import NoMetricsError, Samples, UnreadableError, parse
from reprise.status.scrape.snapshot import (
    Alert,
    AlertList,
    ModelInfo,
    ProcessSnapshot,
    ServiceSnapshot,
    Snapshot,
)
from reprise.status.settings import StatusSettings, Target

_log = get_logger(__name__)
_MAX_BYTES = 8 * 1024 * 1024
_MAX_MODELS = 32
_PREDICTOR = "predictor"
OPTIONAL_SERVICE = "archiver"
"""Service that a platform on one machine can do without: left out of the default targets until it answers."""
_ALERT_PREFIX = "Reprise"

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host and port; raises ``UnreadableError``."""


class Scraper:
    """Scrapes all targets at once, and requests the information about each model once, because it does not change.

    ``resolve`` finds the processes of a target, ``scrapes`` counts by service and outcome, and ``clock`` returns
    seconds since 1970.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        settings: StatusSettings,
        resolve: Resolve,
        scrapes: Counter,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._settings = settings
        self._resolve = resolve
        self._scrapes = scrapes
        self._clock = clock
        self._models: dict[str, ModelInfo] = {}
        self._expects_all = "targets" in settings.model_fields_set

    async def scrape(self) -> Snapshot:
        """Return the current snapshot; it contains the reason of everything that is unavailable."""
        names = list(dict.fromkeys(target.service for target in self._settings.targets))
        (jobs, jobs_problem), (alerts, alerts_problem), services = await asyncio.gather(
            self._jobs(), self._alerts(), asyncio.gather(*(self._service(name) for name in names))
        )
        self._expects_all |= any(
            service.name == OPTIONAL_SERVICE and service.answering for service in services
        )
        shown = tuple(
            service for service in services if self._expects_all or service.name != OPTIONAL_SERVICE
        )
        at, models = self._clock(), dict(self._models)
        return Snapshot(at, shown, jobs, jobs_problem, models, alerts, alerts_problem)

    async def _service(self, name: str) -> ServiceSnapshot:
        targets = [target for target in self._settings.targets if target.service == name]
        resolved = await asyncio.gather(*(self._addresses(target) for target in targets))
        addresses = dict.fromkeys(
            (address, target.port)
            for target, (found, _) in zip(targets, resolved, strict=True)
            for address in found
        )
        processes = await asyncio.gather(*(self._process(name, *address) for address in addresses))
        return ServiceSnapshot(name, tuple(processes), tuple(problem for _, problem in resolved if problem))

    async def _addresses(self, target: Target) -> tuple[list[str], str | None]:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._resolve(target.host, target.port), None
        except TimeoutError:
            return [], f"the name {target.host} is not resolved in time"
        except UnreadableError as error:
            return [], str(error)

    async def _process(self, service: str, address: str, port: int) -> ProcessSnapshot:
        url = base_url(address, port)
        shown = url.removeprefix("http://")
        try:
            samples = parse((await self._get(f"{url}/metrics")).decode(errors="replace"))
        except UnreadableError as error:
            self._scrapes.labels(service, "failed").inc()
            return ProcessSnapshot(shown, problem=str(error))
        self._scrapes.labels(service, "answered").inc()
        ready, reason = await self._ready(url, samples)
        routing = await self._routing(url) if service == _PREDICTOR else None
        process = ProcessSnapshot(shown, samples, None, ready, reason, routing)
        if process.model is not None and process.model not in self._models:
            await self._request_model_info(url)
        return process

    async def _ready(self, url: str, samples: Samples) -> tuple[bool, str | None]:
        try:
            await self._get(f"{url}/ready")
        except _NotFoundError:
            # Some services serve only metrics on this port.
            ready = samples.one("reprise_ready") in {None, 1.0}
            return ready, None if ready else "it does not say why"
        except UnreadableError as error:
            return False, str(error)
        return True, None

    async def _routing(self, url: str) -> RoutingReport | None:
        try:
            return RoutingReport.from_bytes(await self._get(f"{url}/routing"))
        except (UnreadableError, InvalidRoutingError) as error:
            _log.info("routing_unread", address=url, reason=str(error))
            return None

    async def _request_model_info(self, url: str) -> None:
        try:
            model = ModelInfo.model_validate_json(await self._get(f"{url}/model/info"))
        except (UnreadableError, ValidationError) as error:
            _log.info("model_unread", address=url, reason=str(error))
            return
        self._models[model.digest] = model
        while len(self._models) > _MAX_MODELS:
            del self._models[next(iter(self._models))]

    async def _jobs(self) -> tuple[Samples | None, str | None]:
        if self._settings.pushgateway_url is None:
            return None, "no Pushgateway is configured"
        try:
            body = await self._get(f"{self._settings.pushgateway_url}/metrics")
            samples = parse(body.decode(errors="replace"))
            return samples.having(self._settings.pushgateway_grouping), None
        except NoMetricsError:
            return None, "no job has pushed anything to the Pushgateway yet"
        except UnreadableError as error:
            return None, f"the Pushgateway: {error}"

    async def _alerts(self) -> tuple[tuple[Alert, ...] | None, str | None]:
        if self._settings.prometheus_url is None:
            return None, None
        url = f"{self._settings.prometheus_url.rstrip('/')}/api/v1/alerts"
        namespace = self._settings.prometheus_namespace
        try:
            found = AlertList.model_validate_json(await self._get(url)).alerts
        except UnreadableError as error:
            return None, f"Prometheus: {error}"
        except ValidationError:
            return None, "Prometheus: its answer is no list of alerts"
        return tuple(
            alert
            for alert in found
            if alert.state == "firing"
            and alert.name.startswith(_ALERT_PREFIX)
            and (not namespace or alert.namespace in ("", namespace))
        ), None

    async def _get(self, url: str) -> bytes:
        try:
            body = b""
            async with (
                asyncio.timeout(self._settings.timeout_seconds),
                self._client.stream("GET", url) as response,
            ):
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _MAX_BYTES:
                        raise UnreadableError("its answer is too long")
        except (TimeoutError, httpx.TimeoutException):
            raise UnreadableError("it does not answer in time") from None
        except httpx.ConnectError:
            raise UnreadableError("it refuses the connection") from None
        # A peer that resets the connection at once leaves anyio without a socket: AttributeError.
        except (httpx.HTTPError, OSError, AttributeError) as error:
            raise UnreadableError(f"the connection broke ({type(error).__name__})") from None
        if response.status_code == 404:
            raise _NotFoundError("it has no such address")
        if not response.is_success:
            raise UnreadableError(_failure_detail(response.status_code, body))
        return body


class _NotFoundError(UnreadableError):
    pass


def _failure_detail(status: int, body: bytes) -> str:
    try:
        return str(orjson.loads(body)["detail"])[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"it answers {status}"


async def resolve(host: str, port: int) -> list[str]:
    """Return every address of a host, in order.

    Raises:
        UnreadableError: The host has no address.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise UnreadableError(f"nothing has the name {host}") from None
    return of_one_family((family, str(address[0])) for family, *_, address in found)


def of_one_family(found: Iterable[tuple[int, str]]) -> list[str]:
    """Return the IPv4 addresses, or the IPv6 addresses if there are no others.

    A process that listens on both has an address of each under the same name.
    """
    addresses = set(found)
    chosen = socket.AF_INET if socket.AF_INET in {family for family, _ in addresses} else socket.AF_INET6
    return sorted(address for family, address in addresses if family == chosen)


def base_url(address: str, port: int) -> str:
    """Return the URL of a process."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
