"""The doctor's access to Redis: it writes probe keys, asks for users' rights, and removes its canaries."""

import uuid
from collections.abc import Sequence
from typing import Any

import hiredis

from reprise.store.exceptions import StoreRefusedError
from reprise.store.online_store import OnlineStore
from reprise.store.transport.resp import pack, reply_error

_PROBE_MILLISECONDS = 1_000
# Keys spread over a cluster's slots: with 16 per primary, one is missed about once in nine million runs.
_PROBES_PER_PRIMARY = 16


class RedisProbe(OnlineStore):
    """The online store, with the commands of the doctor's Redis user."""

    def primaries(self) -> list[str]:
        """Ping every primary, and return their addresses.

        Raises:
            StoreError: One does not answer, or refuses.
        """
        with self.convert_errors("ping"):
            replies = self.transport.execute_on_primaries(pack(b"PING"))
        self.raise_refusal(replies.values(), "ping")
        return [str(address) for address in replies]

    def write_and_remove(self, prefix: str, primaries: int) -> None:
        """Write keys to these servers and remove them; a key that is not removed expires after a second.

        Raises:
            StoreError: A server is unavailable, or refuses.
        """
        keys = [f"{prefix}{uuid.uuid4().hex}".encode() for _ in range(primaries * _PROBES_PER_PRIMARY)]
        self._run_all([_set(key) for key in keys], keys, "write probe keys")
        self._run_all([pack(b"DEL", key) for key in keys], keys, "remove them")

    def may_write(self, key: bytes) -> bool:
        """Return whether this user may write, by writing a key that expires after a second.

        Raises:
            StoreError: The store is unavailable, or refuses for another reason.
        """
        doing = "write a key"
        (reply,) = self.execute([_set(key)], [key], doing)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM"):
            return False
        self.raise_refusal([reply], doing)
        return True

    def dry_run(self, user: str, command: Sequence[bytes]) -> list[str]:
        """Return the servers that would refuse a command of this user, each with its reason.

        Raises:
            StoreRefusedError: The doctor's own user lacks ``ACL DRYRUN``, or the server is older than Redis 7.
            StoreError: A server is unavailable.
        """
        doing = f"ask what {user} may do"
        with self.convert_errors(doing):
            replies = self.transport.execute_on_primaries(pack(b"ACL", b"DRYRUN", user.encode(), *command))
        self.raise_refusal(replies.values(), doing)
        return [f"{at}: {_text(reply)}" for at, reply in replies.items() if reply != b"OK"]

    def remove(self, keys: Sequence[bytes]) -> int:
        """Remove keys, and return how many existed.

        Raises:
            StoreError: The store is unavailable, or refuses.
        """
        return sum(self._run_all([pack(b"DEL", key) for key in keys], keys, "remove the canary's rows"))

    def _run_all(self, commands: Sequence[bytes], keys: Sequence[bytes], doing: str) -> list[Any]:
        replies = self.execute(commands, keys, doing)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply_error(f"{doing} at {self._address}", reply)
        return replies


def cannot_ask_acl(error: StoreRefusedError) -> bool:
    """Return whether ``ACL DRYRUN`` is not permitted, or not known to the server."""
    return "NOPERM" in error.reason or "unknown subcommand" in error.reason.lower()


def _set(key: bytes) -> bytes:
    return pack(b"SET", key, b"", b"PX", _PROBE_MILLISECONDS)


def _text(reply: Any) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
