"""The operator process: kopf handlers, and everything they need."""

import asyncio
import logging
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import kopf
from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

from reprise.rollout.clients.kubernetes import KubernetesClient, connect
from reprise.rollout.clients.predictors import PredictorClient
from reprise.rollout.clients.prometheus import PrometheusProvider, no_metrics
from reprise.rollout.exceptions import RolloutError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconcile_loop import ReconcileLoop
from reprise.rollout.reconciler import OperatorContext, Reconciler
from reprise.rollout.resource.crd import GROUP, PLURAL, VERSION
from reprise.rollout.settings import RolloutSettings
from reprise.routing.store import RoutingStore


def serve(settings: RolloutSettings) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        RolloutError: There is no cluster, the CRD is not installed, or a port is in use.
        StorageAddressError: The URL of the model store is invalid.
        InvalidKeyFileError: The file of trusted keys has no key.
    """
    for chatty in ("aiohttp.access", "httpx", "kopf"):
        # They log every request and event; the operator's own log has what matters of both.
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    disable_created_metrics()  # type: ignore[no-untyped-call]
    with ExitStack() as stack:
        loop = _build(settings, RolloutMetrics(CollectorRegistry()), stack)
        asyncio.run(
            kopf.operator(
                registry=build_registry(loop),
                namespaces=[settings.namespace],
                standalone=True,
                liveness_endpoint=f"http://{settings.metrics_host}:{settings.liveness_port}/healthz",
            )
        )


def build_registry(loop: ReconcileLoop) -> kopf.OperatorRegistry:
    """Return the kopf handlers.

    Only events are handled, because kopf adds no finalizer for them: a finalizer would block the deletion of the
    resource, and of its namespace, once the operator is gone. Instead the reconciliation that finds the resource
    missing releases the predictors.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**kwargs)

    @kopf.on.startup(registry=registry)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        # One namespace and one known resource: discovery is not needed, and neither is the permission for it.
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.watching.server_timeout = 300
        await loop.start()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def resource_changed(**_: Any) -> None:
        loop.wake()

    # An error is the response of /healthz, so kopf must not retry it.
    @kopf.on.probe(id="looks", errors=kopf.ErrorsMode.PERMANENT, registry=registry)
    async def liveness(**_: Any) -> str:
        loop.check()
        return "taken"

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        await loop.stop()

    return registry


def _build(settings: RolloutSettings, metrics: RolloutMetrics, stack: ExitStack) -> ReconcileLoop:
    store = stack.enter_context(RoutingStore(settings))
    predictors = PredictorClient(settings.predictor_timeout_seconds)
    stack.callback(predictors.close)
    measure = no_metrics
    if settings.prometheus_url is not None:
        prometheus = PrometheusProvider(
            settings.prometheus_url, settings.prometheus_timeout_seconds, settings.prometheus_matchers
        )
        stack.callback(prometheus.close)
        measure = prometheus.measure
    context = OperatorContext(
        kubernetes=KubernetesClient(
            connect(),
            namespace=settings.namespace,
            selector=settings.predictor_selector,
            port_name=settings.predictor_port_name,
        ),
        store=store,
        get_reports=predictors.get_reports,
        measure=measure,
        clock=lambda: datetime.now(UTC),
        models=None if settings.model_store is None else settings.open_models(settings.model_store),
        dry_run=settings.dry_run,
    )
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server, _ = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        raise RolloutError(f"cannot listen on {host}:{port}: {error}") from error
    stack.callback(server.shutdown)
    return ReconcileLoop(Reconciler(context, metrics), settings, metrics)
