"""How much may be under way at once."""

from types import TracebackType

from reprise.predictor.exceptions import OverloadedError


class Admission:
    """A bounded number of requests of one kind; one more is refused at once instead of queueing.

    Use it as a context manager around a request, on one event loop.

    Attributes:
        under_way: How many are inside.
    """

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self.under_way = 0

    def __enter__(self) -> None:
        if self.under_way >= self._limit:
            raise OverloadedError(self._what, self._limit)
        self.under_way += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.under_way -= 1
