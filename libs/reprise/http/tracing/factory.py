"""Building the tracing of a process; the SDK is imported only where traces are on."""

from prometheus_client import CollectorRegistry

from reprise.http.tracing.stages import Tracing
from reprise.runtime.exceptions import InvalidSettingsError
from reprise.runtime.settings import TraceSettings


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
