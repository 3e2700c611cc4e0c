"""Instants as microseconds since 1970-01-01 UTC, and as RFC 3339 text."""

from datetime import UTC, datetime, timedelta

from reprise.events.exceptions import InvalidEventError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def parse_timestamp(text: object, field: str = "timestamp") -> int:
    """Return the microseconds since 1970-01-01 UTC of an RFC 3339 date-time with an offset.

    Raises:
        InvalidEventError: The text is no date-time, or has no offset (``Z`` or ``+02:00``).
    """
    expected = "an RFC 3339 date-time with an offset, such as 2026-01-31T12:00:00Z"
    if not isinstance(text, str):
        raise InvalidEventError(field, text, expected)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidEventError(field, text, expected) from None
    if moment.tzinfo is None:
        raise InvalidEventError(field, text, expected)
    try:
        return (moment - _EPOCH) // _MICROSECOND
    except OverflowError:
        raise InvalidEventError(field, text, expected) from None


def format_timestamp(timestamp_us: int) -> str:
    """Return the RFC 3339 text, in UTC, of an instant in microseconds since 1970-01-01."""
    text = (_EPOCH + timestamp_us * _MICROSECOND).isoformat()
    return text.removesuffix("+00:00") + "Z"
