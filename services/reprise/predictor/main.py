"""The ``serve`` command: one predictor process."""

from typing import TYPE_CHECKING

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.predictor.settings import PredictorSettings


@settings_command(
    "serve",
    "reprise.predictor.settings:PredictorSettings",
    options={
        "--host": "api_host",
        "--port": "api_port",
        "--model-store": "model_store",
        "--model-digest": "model_digest",
        "--redis-host": "redis_host",
        "--redis-port": "redis_port",
    },
    logs=True,
)
def command(settings: "PredictorSettings") -> None:
    """Serve predictions over HTTP until SIGTERM or Ctrl-C.

    Environment variables configure the process; options override them. The API documentation is at /docs, the
    metrics at /metrics.
    """
    from reprise.http.server import run_service
    from reprise.predictor.app import create_app
    from reprise.predictor.context import build_context

    app = create_app(build_context(settings), freeze_objects=True)
    run_service(
        app,
        settings,
        drain_seconds=settings.drain_seconds,
        request_timeout_seconds=settings.arrival_seconds,
    )
