"""Load shedding: a request beyond the limit of concurrent requests is refused at once instead of queued."""

from types import TracebackType

from reprise.predictor.exceptions import OverloadedError


class AdmissionControl:
    """A context manager around each request of one kind, for use on one event loop.

    Attributes:
        in_flight: Number of requests inside.
    """

    def __init__(self, kind: str, limit: int) -> None:
        self._kind = kind
        self._limit = limit
        self.in_flight = 0

    def __enter__(self) -> None:
        if self.in_flight >= self._limit:
            raise OverloadedError(self._kind, self._limit)
        self.in_flight += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.in_flight -= 1
