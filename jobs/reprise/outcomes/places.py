"""Where the report goes: a folder of this machine, or anything else that fsspec reaches."""

from reprise.archive.storage import Storage, open_storage


class OutPlace:
    """A folder or a URL; each file appears at once.

    Args:
        url: Where.

    Raises:
        StoreAddressError: The protocol is not known, or the package that speaks it is not installed.
    """

    def __init__(self, url: str) -> None:
        self._storage: Storage = open_storage(url)

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place, over the one before.

        Raises:
            StoreUnavailableError: It could not be written.
        """
        self._storage.write(name, data)

    def location(self, name: str) -> str:
        """Return the full address of a file."""
        return self._storage.location(name)
