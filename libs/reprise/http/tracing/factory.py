"""The tracing of a process; OpenTelemetry's SDK is imported only where traces are on."""

from collections.abc import Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from reprise.http.metrics import Observe
from reprise.http.tracing.trace_context import StageKind
from reprise.runtime.exceptions import InvalidSettingsError
from reprise.runtime.settings import TraceSettings


class Tracing(Protocol):
    """Makes spans of requests."""

    def staged(
        self,
        name: str,
        observe: Observe,
        kind: StageKind = "internal",
        attributes: Mapping[str, str] | None = None,
    ) -> Observe:
        """Return an observer that passes seconds on to ``observe`` and adds a stage that ends now."""

    def failed(self, dependency: str, error: BaseException) -> None:
        """Add the failure of a dependency to the request's span."""

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application, and make a span of each request."""

    async def close(self) -> None:
        """Export the remaining spans, within a few seconds."""


def open_tracing(settings: TraceSettings, distribution: str, registry: CollectorRegistry) -> Tracing | None:
    """Return what makes and exports the spans of a component, or ``None`` where traces are off.

    Raises:
        InvalidSettingsError: OpenTelemetry's SDK is not installed, or refuses its settings.
    """
    if not settings.traces:
        return None
    try:
        from reprise.http.tracing.exporter import build_span_tracing  # noqa: PLC0415 - an optional dependency
    except ModuleNotFoundError as error:
        problem = f"REPRISE_TRACES: {error.name} is not installed"
        raise InvalidSettingsError(
            [f"{problem}; install reprise[otel], or use an image built with OTEL=1"]
        ) from error
    return build_span_tracing(distribution, settings.otel_queue, registry)
