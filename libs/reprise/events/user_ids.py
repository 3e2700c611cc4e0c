"""Keyed hashing of user ids at the door: the platform then holds no id that the shop's own records have."""

import hmac
from collections.abc import Callable
from pathlib import Path

from reprise.events.event import is_canary
from reprise.runtime.exceptions import InvalidSettingsError

_MIN_KEY_BYTES = 32
_DIGITS = 32


def user_id_hash(key_file: Path | None) -> Callable[[str], str] | None:
    """Return the function that replaces user ids by 32 hexadecimal digits of their HMAC-SHA256; None without a key.

    The ids of canaries stay.

    Raises:
        InvalidSettingsError: The file cannot be read, or has fewer than 32 bytes.
    """
    if key_file is None:
        return None
    try:
        key = key_file.read_bytes().strip()
    except OSError as error:
        raise InvalidSettingsError([f"REPRISE_USER_ID_KEY_FILE: {key_file}: {error.strerror}"]) from error
    if len(key) < _MIN_KEY_BYTES:
        expected = f"expected at least {_MIN_KEY_BYTES} bytes in {key_file}, got {len(key)}"
        raise InvalidSettingsError([f"REPRISE_USER_ID_KEY_FILE: {expected}"])

    def hashed(user_id: str) -> str:
        if is_canary(user_id):
            return user_id
        return hmac.digest(key, user_id.encode(errors="surrogatepass"), "sha256").hex()[:_DIGITS]

    return hashed
