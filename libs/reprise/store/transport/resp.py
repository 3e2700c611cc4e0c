"""Commands and errors of Redis's protocol (RESP2), and the first commands of a connection."""

from __future__ import annotations

import ssl
from typing import Final

import hiredis

from reprise.store.exceptions import StoreError, StoreRefusedError, StoreUnavailableError
from reprise.store.settings import OnlineStoreSettings

Command = bytes
"""A command with its arguments, as it is sent."""

TRANSIENT_CLUSTER_ERRORS: Final = frozenset({"TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING"})
"""Errors of a cluster's node after which a command is sent again."""

# Redis refuses writes at its memory limit (OOM), with too few replicas, or while its disk fails (MISCONF).
_TRANSIENT_ERRORS: Final = TRANSIENT_CLUSTER_ERRORS | {"BUSY", "OOM", "NOREPLICAS", "MISCONF"}


class ConnectionLostError(Exception):
    """The connection was lost before the answer came."""


def pack(*arguments: bytes | int) -> Command:
    """Return the command with these arguments."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # its stub takes one
    return packed


def glob_escaped(text: bytes) -> bytes:
    """Return the pattern of SCAN that matches these bytes alone."""
    return b"".join(b"\\" + bytes([c]) if c in b"*?[]\\^-" else bytes([c]) for c in text)


PING: Final = pack(b"PING")
ASKING: Final = pack(b"ASKING")
CLUSTER_NODES: Final = pack(b"CLUSTER", b"NODES")
CLUSTER_SLOTS: Final = pack(b"CLUSTER", b"SLOTS")


def reply_error(operation: str, reply: hiredis.ReplyError) -> StoreError:
    """Return our error for one of the server's."""
    text = str(reply)
    if text.partition(" ")[0] in _TRANSIENT_ERRORS or "max number of clients" in text:
        return StoreUnavailableError(operation, text)
    return StoreRefusedError(operation, text)


def is_refusal(reply: object) -> bool:
    """Return whether a reply to ``PING`` or ``handshake`` is an error, other than MISCONF: reads are still answered."""
    return isinstance(reply, hiredis.ReplyError) and not str(reply).startswith("MISCONF ")


def handshake(settings: OnlineStoreSettings) -> list[Command]:
    """Return the commands that authenticate a new connection, select its database and check that it answers."""
    commands = []
    if settings.redis_password is not None:
        user = [] if settings.redis_username is None else [settings.redis_username.encode()]
        commands.append(pack(b"AUTH", *user, settings.redis_password.get_secret_value().encode()))
    if settings.redis_db:
        commands.append(pack(b"SELECT", settings.redis_db))
    commands.append(PING)
    return commands


def tls_context(settings: OnlineStoreSettings) -> ssl.SSLContext | None:
    """Return the TLS context of the store's connections, ``None`` without TLS.

    Raises:
        StoreRefusedError: The file of certificate authorities is no PEM file.
    """
    if not settings.redis_tls:
        return None
    try:
        return ssl.create_default_context(cafile=settings.redis_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StoreRefusedError(f"load the authorities in {settings.redis_ca_file}", str(error)) from error
