"""Errors of this package."""


class HttpLibraryError(Exception):
    """Root of this package's errors."""


class ServerStartError(HttpLibraryError):
    """The server did not come up: the address is taken, or the application's start failed."""


class InvalidKeysError(HttpLibraryError):
    """The API keys are not given as they should be; says where, never what stands there."""
