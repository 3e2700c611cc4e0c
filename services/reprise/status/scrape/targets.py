"""Addresses of the services and of their processes."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from reprise.status.scrape.exposition import UnreadableError

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host and port; raises ``UnreadableError``."""


@dataclass(frozen=True)
class Target:
    """One address of a service's ``/metrics``; a host name may have several processes."""

    service: str
    host: str
    port: int


def parse_targets(text: str) -> tuple[Target, ...]:
    """Return the targets of ``name=http://host:port,…``.

    Raises:
        ValueError: An entry has another form; the message has the entry.
    """
    return tuple(_parse(entry.strip()) for entry in text.split(",") if entry.strip())


def _parse(entry: str) -> Target:
    # The page shows addresses, so they must not contain a password.
    found = re.fullmatch(r"([a-z][a-z0-9-]{0,30})=((?i:http)://[^/?#@]+)/?", entry)
    try:
        parts = urlsplit(found[2] if found else "")
        port = 80 if parts.port is None else parts.port
    except ValueError:
        found = None
    if found is None or not parts.hostname:
        raise ValueError(f"expected name=http://host:port, {entry!r} is none")
    return Target(found[1], parts.hostname, port)


async def resolve(host: str, port: int) -> list[str]:
    """Return every address of a host, in order.

    Raises:
        UnreadableError: The host has no address.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise UnreadableError(f"nothing has the name {host}") from None
    return of_one_family((family, str(address[0])) for family, *_, address in found)


def of_one_family(found: Iterable[tuple[int, str]]) -> list[str]:
    """Return the IPv4 addresses, or the IPv6 addresses if there are no others.

    A process that listens on both has an address of each under the same name.
    """
    addresses = set(found)
    chosen = socket.AF_INET if socket.AF_INET in {family for family, _ in addresses} else socket.AF_INET6
    return sorted(address for family, address in addresses if family == chosen)


def base_url(address: str, port: int) -> str:
    """Return the URL of a process."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
