"""The stages of a request that become spans, without importing OpenTelemetry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from starlette.types import ASGIApp

from reprise.http.histogram import LoopHistogram, Observe


@dataclass(frozen=True, slots=True)
class Stage:
    """A measured part of a request, which becomes a span.

    Attributes:
        name: Name of the span.
        kind: ``client`` and ``producer`` for calls of another service.
        attributes: Attributes of the span, the same for every request.
    """

    name: str
    kind: Literal["internal", "client", "producer"] = "internal"
    attributes: Mapping[str, str] = field(default_factory=dict)


class Tracing(Protocol):
    """Makes spans of requests."""

    def staged(self, stage: Stage, observe: Observe) -> Observe:
        """Return an observer that passes seconds on to ``observe`` and adds a stage that ends now."""

    def failed(self, dependency: str, error: BaseException) -> None:
        """Add the failure of a dependency to the request's span."""

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application, and make a span of each request."""

    async def close(self) -> None:
        """Export the remaining spans, within a few seconds."""


class StageHistogram:
    """A histogram of stages, which become spans too where traces are on.

    Args:
        histogram: Its only label is the stage.
        stages: The stages.
        tracing: ``None`` where traces are off.
    """

    def __init__(self, histogram: LoopHistogram, stages: Sequence[Stage], tracing: Tracing | None) -> None:
        self._histogram = histogram
        self._stages = {stage.name: stage for stage in stages}
        self._tracing = tracing

    def of(self, stage: str) -> Observe:
        """Return the observer to call when a stage ends; the histogram's own where traces are off."""
        observe = self._histogram.of(stage)
        return observe if self._tracing is None else self._tracing.staged(self._stages[stage], observe)
