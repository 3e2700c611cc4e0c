"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class OnlineStoreError(RepriseError):
    """Root of this package's errors."""


class LayoutError(OnlineStoreError):
    """A view cannot be stored in Feast's layout."""


class UnencodableStateError(OnlineStoreError):
    """A number does not fit its field."""

    def __init__(self, view: str, field: str, value: object, expected: str) -> None:
        super().__init__(f"{view}.{field}: expected {expected}, got {value!r}")


class UnencodableIdError(OnlineStoreError):
    """An id has no UTF-8 form, so no key can be made of it."""


class ProtobufError(OnlineStoreError):
    """Bytes are not the expected protobuf message."""


class CorruptRowError(OnlineStoreError):
    """A stored row does not match its view."""

    def __init__(self, view: str, field: str, key: bytes | None, reason: str) -> None:
        shown = "an unnamed key" if key is None else f"key {key!r}"
        super().__init__(f"{view}.{field} of {shown}: {reason}")


class CorruptWatermarksError(OnlineStoreError):
    """Stored bytes are no watermarks."""


class WatermarkRegressionError(OnlineStoreError):
    """A fold would lower a watermark or fold an offset twice."""


class StoreError(OnlineStoreError):
    """Redis failed or refused; ``operation`` is what was being done."""

    def __init__(self, operation: str, reason: str) -> None:
        self.operation = operation
        self.reason = reason
        super().__init__(f"{operation}: {reason}")


class StoreUnavailableError(StoreError):
    """Redis did not answer in time, is not ready or cannot write for now; a later retry may succeed."""


class StoreRefusedError(StoreError):
    """Redis refused: credentials, permissions, a read-only replica."""
