"""API keys, of which only the SHA-256 is known here.

A key is a random string of at least 128 bits, so a plain digest of it cannot be turned back by guessing, and
needs neither salt nor a slow hash. The digests are compared in constant time all the same.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from reprise.http.exceptions import InvalidKeysError
from reprise.runtime.logs import get_logger

_log = get_logger(__name__)
_ENTRY = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]{1,64})[:\s]\s*)?(?P<digest>[0-9a-fA-F]{64})")
_BEARER = b"bearer "


class ApiKeys:
    """The keys that are accepted, several at once so that one can be exchanged for another.

    An entry is ``sha256hex`` or ``name:sha256hex``. Keys of one name are one caller's: they share its rate
    limit, and the name is what logs show. A key without a name is called by the first 8 digits of its digest.

    Args:
        entries: The entries themselves.
        file: A file with an entry a line, ``#`` starting a comment; read again by ``keep_fresh``.

    Raises:
        InvalidKeysError: An entry is none, the file cannot be read, or there is no entry at all.
    """

    def __init__(self, entries: Iterable[str], file: Path | None = None) -> None:
        self._fixed = _parse(entries, "the list of API keys")
        self._file = file
        self._keys = self._load()

    @classmethod
    def of(cls, entries: Iterable[str], file: Path | None) -> Self | None:
        """Return the keys, or ``None`` where none are asked for."""
        listed = list(entries)
        return cls(listed, file) if listed or file is not None else None

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return whose key a request shows, by ``Authorization: Bearer`` or ``X-API-Key``; ``None`` if nobody's."""
        for name, value in headers:
            if name == b"x-api-key":
                shown = value
            elif name == b"authorization" and value[:7].lower() == _BEARER:
                shown = value[7:]
            else:
                continue
            caller = self._whose(shown.strip())
            if caller is not None:
                return caller
        return None

    async def keep_fresh(self, seconds: float) -> None:
        """Read the file again every so many seconds, until cancelled; one that is broken changes nothing."""
        while self._file is not None:
            await asyncio.sleep(seconds)
            self.refresh()

    def refresh(self) -> None:
        """Read the file again."""
        try:
            keys = self._load()
        except InvalidKeysError as error:
            _log.error("api_keys_refused", reason=str(error), still_accepted=len(self._keys))
            return
        if keys != self._keys:
            self._keys = keys
            _log.info("api_keys_loaded", keys=len(keys))

    def _whose(self, shown: bytes) -> str | None:
        digest = hashlib.sha256(shown).digest()
        found = None
        # Always all of them, so that the time tells nothing of which it was.
        for known, name in self._keys.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _load(self) -> dict[bytes, str]:
        keys = self._fixed | self._from_file()
        if not keys:
            where = self._file or "the list of API keys"
            raise InvalidKeysError(f"{where} holds no key, so nobody could be let in")
        return keys

    def _from_file(self) -> dict[bytes, str]:
        if self._file is None:
            return {}
        try:
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidKeysError(f"{self._file} cannot be read: {error}") from error
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        return _parse((line for line in lines if line), str(self._file))


def _parse(entries: Iterable[str], where: str) -> dict[bytes, str]:
    keys: dict[bytes, str] = {}
    for number, entry in enumerate(entries, 1):
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            # What stands there may be a key itself, so it is not shown.
            raise InvalidKeysError(f"{where}: entry {number} is neither sha256hex nor name:sha256hex")
        digest = match["digest"].lower()
        keys[bytes.fromhex(digest)] = match["name"] or digest[:8]
    return keys
