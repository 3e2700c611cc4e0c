"""The operator process: kopf handlers, and everything they need."""

import asyncio
import logging
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import kopf
from fastapi import APIRouter
from prometheus_client import CollectorRegistry, disable_created_metrics

from reprise.http.operations import Health
from reprise.http.problems import NOT_READY, ProblemError
from reprise.http.server import metrics_server
from reprise.rollout.clients.kubernetes import KubernetesClient, connect
from reprise.rollout.clients.predictors import PredictorClient
from reprise.rollout.clients.prometheus import PrometheusProvider, no_metrics
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconcile_loop import ReconcileLoop
from reprise.rollout.reconciler import OperatorContext, Reconciler
from reprise.rollout.resource.crd import GROUP, PLURAL, VERSION
from reprise.rollout.settings import RolloutSettings
from reprise.routing import DocumentKeys
from reprise.routing.store import RoutingStore


def serve(settings: RolloutSettings) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        RolloutError: There is no cluster, or the CRD is not installed.
        ServerStartError: The port is in use.
        StorageAddressError: The URL of the model store is invalid.
        InvalidKeyFileError: A file of keys has none.
    """
    for chatty in ("aiohttp.access", "httpx", "kopf"):
        # They log every request and event; the operator's own log has what matters of both.
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics = RolloutMetrics(CollectorRegistry())
    with ExitStack() as stack:
        asyncio.run(_operate(_build(settings, metrics, stack), settings, metrics))


async def _operate(loop: ReconcileLoop, settings: RolloutSettings, metrics: RolloutMetrics) -> None:
    async with metrics_server(metrics.registry, settings, settings.api_port, liveness_router(loop)):
        await kopf.operator(registry=build_registry(loop), namespaces=[settings.namespace], standalone=True)


def liveness_router(loop: ReconcileLoop) -> APIRouter:
    """Return ``GET /healthz``, which fails when the loop no longer reconciles."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> Health:
        if (problem := loop.problem) is not None:
            raise ProblemError(NOT_READY, problem)
        return Health(status="ok")

    return router


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

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:
        await loop.stop()

    return registry


def _build(settings: RolloutSettings, metrics: RolloutMetrics, stack: ExitStack) -> ReconcileLoop:
    document_keys = DocumentKeys.read(
        signing=settings.routing_signing_key_file, trusted=settings.routing_trusted_keys_file
    )
    evidence_keys = DocumentKeys.read(trusted=settings.evidence_trusted_keys_file)
    store = stack.enter_context(RoutingStore(settings, document_keys, evidence_keys))
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
    return ReconcileLoop(Reconciler(context, metrics), settings, metrics)
