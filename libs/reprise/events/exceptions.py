"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class EventsError(RepriseError):
    """Root of this package's errors."""


class InvalidEventError(EventsError):
    """An event breaks the contract; says which field, what it held, and what was expected."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"{field}: expected {expected}, got {shown}")
