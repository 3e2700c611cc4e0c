"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class OnlineStoreError(RepriseError):
    """Root of this package's errors."""


class LayoutError(OnlineStoreError):
    """A view or a project cannot be laid out in Redis as Feast does it."""


class UnencodableStateError(OnlineStoreError):
    """A number does not fit its field; says which view, which field, what it held and what was expected."""

    def __init__(self, view: str, field: str, value: object, expected: str) -> None:
        self.view = view
        self.field = field
        super().__init__(f"{view}.{field}: expected {expected}, got {value!r}")


class UnencodableIdError(OnlineStoreError):
    """An id has no UTF-8 form, so no row can be named by it."""

    def __init__(self, view: str, ids: tuple[str, ...]) -> None:
        self.view = view
        super().__init__(f"{view}: an id with a lone surrogate has no UTF-8 form: {ids!r}")


class WireError(OnlineStoreError):
    """Bytes are not the protobuf message that they should be."""


class CorruptRowError(OnlineStoreError):
    """A stored row does not hold what its view says; names the view, the field and the key."""

    def __init__(self, view: str, field: str, key: bytes | None, reason: str) -> None:
        self.view = view
        self.field = field
        self.key = key
        shown = "an unnamed key" if key is None else f"key {key!r}"
        super().__init__(f"{view}.{field} of {shown}: {reason}")


class CorruptWatermarksError(OnlineStoreError):
    """Stored watermarks are not what this package wrote."""


class WatermarkRegressionError(OnlineStoreError):
    """A fold would take a watermark back, or fold an offset for the second time."""

    def __init__(self, partition: int, folded: int, offset: int) -> None:
        self.partition = partition
        super().__init__(f"partition {partition} is folded up to offset {folded}; {offset} is not past it")


class StoreError(OnlineStoreError):
    """Root of what goes wrong between us and Redis; ``operation`` is what was being done."""

    def __init__(self, operation: str, reason: str) -> None:
        self.operation = operation
        self.reason = reason
        super().__init__(f"{operation}: {reason}")


class StoreUnavailableError(StoreError):
    """Redis did not answer, or not in time, or is not ready yet, or is full; trying again later may help."""


class StoreRefusedError(StoreError):
    """Redis answered, and refused: credentials, permissions, a read-only replica."""
