"""API keys, stored as SHA-256 digests.

A key is a random string of at least 128 bits, so a plain digest cannot be reversed by guessing and needs neither salt
nor a slow hash. Digests are compared in constant time.
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
    """The accepted keys; several at once allow rotation.

    An entry is ``sha256hex`` or ``name:sha256hex``. Keys of one name belong to one caller: they share its rate limit,
    and logs show the name. A key without a name is named by the first 8 digits of its digest.

    Args:
        entries: The entries themselves.
        file: A file with an entry a line and ``#`` comments; ``keep_fresh`` reads it again.

    Raises:
        InvalidKeysError: An entry is malformed, the file cannot be read, or there is no entry.
    """

    def __init__(self, entries: Iterable[str], file: Path | None = None) -> None:
        self._fixed = _parse(entries, "the list of API keys")
        self._file = file
        self._keys = self._load()

    @classmethod
    def of(cls, entries: Iterable[str], file: Path | None) -> Self | None:
        """Return the keys, or ``None`` if neither entries nor a file are given."""
        listed = list(entries)
        return cls(listed, file) if listed or file is not None else None

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the name of the key in ``Authorization: Bearer`` or ``X-API-Key``; ``None`` if no key is accepted."""
        for name, value in headers:
            if name == b"x-api-key":
                key = value
            elif name == b"authorization" and value[:7].lower() == _BEARER:
                key = value[7:]
            else:
                continue
            digest = hashlib.sha256(key.strip()).digest()
            caller = None
            # Every key is compared, so that the time does not depend on which one matches.
            for known, known_name in self._keys.items():
                if hmac.compare_digest(known, digest):
                    caller = known_name
            if caller is not None:
                return caller
        return None

    async def keep_fresh(self, seconds: float) -> None:
        """Read the file again every ``seconds`` until cancelled; a malformed file changes nothing."""
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

    def _load(self) -> dict[bytes, str]:
        keys = self._fixed
        if self._file is not None:
            try:
                text = self._file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidKeysError(f"{self._file} cannot be read: {error}") from error
            lines = (line.partition("#")[0].strip() for line in text.splitlines())
            keys = keys | _parse((line for line in lines if line), str(self._file))
        if not keys:
            where = self._file or "the list of API keys"
            raise InvalidKeysError(f"{where} holds no key, so every request would be refused")
        return keys


def _parse(entries: Iterable[str], where: str) -> dict[bytes, str]:
    keys: dict[bytes, str] = {}
    for number, entry in enumerate(entries, 1):
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            # The entry may be a key itself, so the message does not show it.
            raise InvalidKeysError(f"{where}: entry {number} is neither sha256hex nor name:sha256hex")
        digest = match["digest"].lower()
        keys[bytes.fromhex(digest)] = match["name"] or digest[:8]
    return keys
