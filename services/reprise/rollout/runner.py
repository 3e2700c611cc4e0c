"""One operator process, from its settings to its end."""

import asyncio
import logging
from contextlib import ExitStack
from datetime import UTC, datetime

import kopf
from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

from reprise.rollout.clients.kubernetes import KubernetesCluster, connect
from reprise.rollout.clients.predictors import HttpPredictors
from reprise.rollout.clients.prometheus import MetricsProvider, NoMetrics, Prometheus
from reprise.rollout.exceptions import RolloutError
from reprise.rollout.handlers import build_registry
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconcile_loop import Rollouts
from reprise.rollout.reconciler import Reconciler, World
from reprise.rollout.settings import RolloutSettings
from reprise.routing.store import RoutingStore


def serve(settings: RolloutSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        RolloutError: There is no cluster, the resource is not installed, or an address is taken.
    """
    for chatty in ("aiohttp.access", "httpx", "kopf"):
        # They tell of every request and every event; what matters of both is told by us.
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    disable_created_metrics()  # type: ignore[no-untyped-call]
    with ExitStack() as stack:
        rollouts = _build(settings, RolloutMetrics(CollectorRegistry()), stack)
        asyncio.run(
            kopf.operator(
                registry=build_registry(rollouts),
                namespaces=[settings.namespace],
                standalone=True,
                liveness_endpoint=f"http://{settings.metrics_host}:{settings.liveness_port}/healthz",
            )
        )


def _build(settings: RolloutSettings, metrics: RolloutMetrics, stack: ExitStack) -> Rollouts:
    cluster = KubernetesCluster(
        connect(),
        namespace=settings.namespace,
        selector=settings.predictor_selector,
        port_name=settings.predictor_port_name,
    )
    store = RoutingStore(settings)
    stack.callback(store.close)
    predictors = HttpPredictors(settings.predictor_timeout_seconds)
    stack.callback(predictors.close)
    world = World(
        cluster=cluster,
        store=store,
        predictors=predictors,
        provider=_provider(settings, stack),
        clock=lambda: datetime.now(UTC),
        dry_run=settings.dry_run,
    )
    try:
        server, _ = start_http_server(
            settings.metrics_port, addr=settings.metrics_host, registry=metrics.registry
        )
    except OSError as error:
        raise RolloutError(
            f"cannot listen on {settings.metrics_host}:{settings.metrics_port}: {error}"
        ) from error
    stack.callback(server.shutdown)
    return Rollouts(Reconciler(world, metrics), cluster.rollouts, settings, metrics)


def _provider(settings: RolloutSettings, stack: ExitStack) -> MetricsProvider:
    if settings.prometheus_url is None:
        return NoMetrics()
    prometheus = Prometheus(
        settings.prometheus_url, settings.prometheus_timeout_seconds, settings.prometheus_matchers
    )
    stack.callback(prometheus.close)
    return prometheus
