"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class HttpLibraryError(RepriseError):
    """Root of this package's errors."""


class ServerStartError(HttpLibraryError):
    """The server did not come up: the address is taken, or the application's start failed."""


class InvalidKeysError(HttpLibraryError):
    """The API keys are not given as they should be; says where, never what stands there."""
