"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class HttpLibraryError(RepriseError):
    """Root of this package's errors."""


class ServerStartError(HttpLibraryError):
    """The server did not start: the address is taken, or the application's start failed."""


class InvalidKeysError(HttpLibraryError):
    """The API keys are malformed; the message has the place, never the content."""
