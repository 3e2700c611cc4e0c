"""The doctor's access to Redis: it writes probe keys, asks for users' rights, and removes its canaries."""

import uuid
from collections.abc import Sequence
from typing import Any

import hiredis

from reprise.store.client import StoreClient
from reprise.store.transport.resp import PING, pack

_PROBE_MILLISECONDS = 1_000
# Keys spread over a cluster's slots: with 16 per primary, one is missed about once in nine million runs.
_PROBES_PER_PRIMARY = 16


class RedisProbe(StoreClient):
    """A client of the online store's Redis, with the commands of the doctor's user.

    Methods raise ``StoreError`` where a server is unavailable or refuses.
    """

    def primaries(self) -> list[str]:
        """Ping every primary, and return their addresses."""
        return [str(address) for address in self.execute_on_primaries(PING, "ping")]

    def write_and_remove(self, prefix: str, primaries: int) -> None:
        """Write keys to these servers and remove them; a key that is not removed expires after a second."""
        keys = [f"{prefix}{uuid.uuid4().hex}".encode() for _ in range(primaries * _PROBES_PER_PRIMARY)]
        self._run_all([_set(key) for key in keys], keys, "write probe keys")
        self._run_all([pack(b"DEL", key) for key in keys], keys, "remove them")

    def may_write(self, key: bytes) -> bool:
        """Return whether this user may write, by writing a key that expires after a second."""
        (reply,) = self.execute([_set(key)], [key], "write a key")
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM"):
            return False
        self.raise_refusal([reply], "write a key")
        return True

    def dry_run(self, user: str, command: Sequence[bytes]) -> list[str]:
        """Return the servers that would refuse a command of this user, each with its reason.

        Raises:
            StoreRefusedError: The doctor's own user lacks ``ACL DRYRUN``, or the server is older than Redis 7.
        """
        asked = pack(b"ACL", b"DRYRUN", user.encode(), *command)
        replies = self.execute_on_primaries(asked, f"ask what {user} may do")
        return [f"{at}: {_text(reply)}" for at, reply in replies.items() if reply != b"OK"]

    def remove(self, keys: Sequence[bytes]) -> int:
        """Remove keys, and return how many existed."""
        return sum(self._run_all([pack(b"DEL", key) for key in keys], keys, "remove the canary's rows"))

    def _run_all(self, commands: Sequence[bytes], keys: Sequence[bytes], doing: str) -> list[Any]:
        replies = self.execute(commands, keys, doing)
        self.raise_refusal(replies, doing)
        return replies


def _set(key: bytes) -> bytes:
    return pack(b"SET", key, b"", b"PX", _PROBE_MILLISECONDS)


def _text(reply: Any) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
