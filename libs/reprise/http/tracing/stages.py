"""The stages of a request that become spans, without importing OpenTelemetry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from starlette.types import ASGIApp

from reprise.http.histogram import LoopHistogram, Observe


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a request that is measured anyway, and has a span of its own in a trace.

    Attributes:
        name: Of the span.
        kind: ``client`` and ``producer`` for calls of another service.
        attributes: Of the span, the same for every request.
        before: The stage that begins where this one ends, if that one comes to be: what is measured of the two
            may be noted later, and of both at once.
    """

    name: str
    kind: Literal["internal", "client", "producer"] = "internal"
    attributes: Mapping[str, str] = field(default_factory=dict)
    before: str | None = None


class Tracing(Protocol):
    """Makes spans of requests."""

    def staged(self, stage: Stage, observe: Observe) -> Observe:
        """Return the function that passes on what it is given, and notes it in the trace of the request."""

    def failed(self, dependency: str, error: BaseException) -> None:
        """Note in the trace of the request that a service it depends on has failed."""

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Return what stands before an application and makes a span of each request."""

    async def close(self) -> None:
        """Export what is left, for a few seconds at most."""


class StageHistogram:
    """A histogram of stages whose observations are noted in traces as well, where there are traces.

    Args:
        histogram: Has the stage as its only label.
        stages: The stages.
        tracing: ``None`` where traces are off.
    """

    def __init__(self, histogram: LoopHistogram, stages: Sequence[Stage], tracing: Tracing | None) -> None:
        self._histogram = histogram
        self._stages = {stage.name: stage for stage in stages}
        self._tracing = tracing

    def of(self, stage: str) -> Observe:
        """Return the function that takes the seconds of a stage; the histogram's own where traces are off."""
        observe = self._histogram.of(stage)
        return observe if self._tracing is None else self._tracing.staged(self._stages[stage], observe)
