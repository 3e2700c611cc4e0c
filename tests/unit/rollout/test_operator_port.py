"""The operator's port for metrics and probes."""

import asyncio
import socket
from typing import Any, cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from reprise.http.exceptions import ServerStartError
from reprise.http.server import metrics_server
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconcile_loop import ReconcileLoop
from reprise.rollout.runner import liveness_router
from reprise.rollout.settings import RolloutSettings


class _Idle:
    """Stands for the reconciler of a namespace without rollouts."""

    def rollouts(self) -> tuple[()]:
        return ()

    def release_deleted(self, rollouts: tuple[()]) -> None:
        pass


async def test_probes_metrics_and_bounds_of_headers_and_connections_are_those_of_the_other_services() -> None:
    bounds = {"api_max_header_bytes": 1024, "api_max_connections": 2}
    settings = RolloutSettings.load(api_host="127.0.0.1", **bounds)
    metrics = RolloutMetrics(CollectorRegistry())
    loop = ReconcileLoop(cast(Any, _Idle()), settings, metrics)
    async with (
        metrics_server(metrics.registry, settings, 0, liveness_router(loop)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        stuck = await client.get("/healthz")
        assert (stuck.status_code, stuck.json()["status"]) == (503, 503)
        await loop.start()
        assert (await client.get("/healthz")).status_code == 200
        assert "reprise_rollout_reconciliation_seconds" in (await client.get("/metrics")).text
        assert (await client.get("/metrics", headers={"x": "y" * 2000})).status_code == 431
        first, _ = await asyncio.open_connection("127.0.0.1", port)
        others = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        async with asyncio.timeout(10):
            assert await first.read() == b""
        for _, writer in others:
            writer.close()
        await loop.stop()


async def test_a_port_in_use_is_named() -> None:
    settings = RolloutSettings.load(api_host="127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerStartError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with metrics_server(CollectorRegistry(), settings, port):
                pass
