"""What the doctor does with Redis: writes keys of its own, asks who may do what, and takes its canaries away."""

import uuid
from collections.abc import Sequence
from typing import Any

import hiredis

from reprise.store.exceptions import StoreRefusedError
from reprise.store.online_store import OnlineStore
from reprise.store.transport.resp import pack, reply_error

_PROBE_MILLISECONDS = 1_000
# Keys are spread over a cluster's slots, so that a primary is missed about once in nine million times.
_PROBES_A_PRIMARY = 16


class DoctorStore(OnlineStore):
    """The online store as the doctor sees it."""

    def primaries(self) -> list[str]:
        """Return the addresses of the servers that have the store, once each of them answers.

        Raises:
            StoreError: One does not, or refuses.
        """
        with self.convert_errors("ping"):
            replies = self.transport.execute_on_primaries(pack(b"PING"))
        self.raise_refusal(replies.values(), "ping")
        return [str(address) for address in replies]

    def write_and_remove(self, prefix: str, primaries: int) -> None:
        """Write keys of these servers, and remove them; were that to fail, they are gone after a second.

        Raises:
            StoreError: One is away, or refuses.
        """
        keys = [f"{prefix}{uuid.uuid4().hex}".encode() for _ in range(primaries * _PROBES_A_PRIMARY)]
        self._refused_first([_set(key) for key in keys], keys, "write keys of the doctor's own")
        self._refused_first([pack(b"DEL", key) for key in keys], keys, "remove them")

    def may_write(self, key: bytes) -> bool:
        """Try to write a key, which is gone after a second; return whether the user was allowed to.

        Raises:
            StoreError: The store is away, or refuses for another reason.
        """
        doing = "write a key"
        (reply,) = self.execute([_set(key)], [key], doing)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOPERM"):
            return False
        self.raise_refusal([reply], doing)
        return True

    def dry_run(self, user: str, command: Sequence[bytes]) -> list[str]:
        """Return the servers that would refuse a command of this user, each with what it says.

        Raises:
            StoreRefusedError: The doctor's own user may not ask, or the server is older than Redis 7.
            StoreError: A server is away.
        """
        doing = f"ask what {user} may do"
        with self.convert_errors(doing):
            replies = self.transport.execute_on_primaries(pack(b"ACL", b"DRYRUN", user.encode(), *command))
        self.raise_refusal(replies.values(), doing)
        return [f"{at}: {_text(reply)}" for at, reply in replies.items() if reply != b"OK"]

    def document(self, key: str) -> bytes | None:
        """Return the value of a key, ``None`` where there is none.

        Raises:
            StoreError: The store is away, or refuses.
        """
        doing, name = f"read {key}", key.encode()
        (reply,) = self.execute([pack(b"GET", name)], [name], doing)
        self.raise_refusal([reply], doing)
        found: bytes | None = reply
        return found

    def remove(self, keys: Sequence[bytes]) -> int:
        """Remove keys, and return how many there were.

        Raises:
            StoreError: The store is away, or refuses.
        """
        return sum(self._refused_first([pack(b"DEL", key) for key in keys], keys, "remove the canary's rows"))

    def _refused_first(self, commands: Sequence[bytes], keys: Sequence[bytes], doing: str) -> list[Any]:
        replies = self.execute(commands, keys, doing)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise reply_error(f"{doing} at {self._address}", reply)
        return replies


def refuses_to_say(error: StoreRefusedError) -> bool:
    """Return whether Redis does not tell what a user may do: the right to ask is missing, or the command."""
    return "NOPERM" in error.reason or "unknown subcommand" in error.reason.lower()


def _set(key: bytes) -> bytes:
    return pack(b"SET", key, b"", b"PX", _PROBE_MILLISECONDS)


def _text(reply: Any) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
