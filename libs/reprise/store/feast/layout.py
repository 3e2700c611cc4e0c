"""Feast 0.67's layout of a row in Redis: the key of its hash, and the names of the hash's fields.

The key is the entity key (serialization version 3: the number of join keys, the join keys' names in
alphabetical order, then their values, each with its type and length) followed by the project's name. Views
with the same join keys share the hash: a field's name is the little-endian murmur3 of ``view:feature``, and
``_ts:view`` holds the row's event timestamp.
"""

import struct
from collections.abc import Callable, Sequence

import mmh3

_STRING = 2  # feast.types.ValueType.STRING


class _IdHeaders(dict[int, bytes]):
    """The type and length that precede an id, by its number of bytes."""

    def __missing__(self, length: int) -> bytes:
        header = self[length] = struct.pack("<II", _STRING, length)
        return header


_ID_HEADERS = _IdHeaders()


def field_name(view: str, feature: str) -> bytes:
    """Return the name of the hash field that holds a feature of a view."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def timestamp_field_name(view: str) -> bytes:
    """Return the name of the hash field that holds the event timestamp of a view's row."""
    return f"_ts:{view}".encode()


def key_function(project: str, join_keys: Sequence[str]) -> Callable[..., bytes]:
    """Return a function that makes the key of a hash from an entity's ids, in the order of ``join_keys``.

    It raises ``UnicodeEncodeError`` where an id has no UTF-8 form.
    """
    order = sorted(range(len(join_keys)), key=join_keys.__getitem__)
    prefix, suffix = _prefix(join_keys), project.encode()

    if len(join_keys) == 1:

        def one(identity: str) -> bytes:
            encoded = identity.encode()
            return prefix + _ID_HEADERS[len(encoded)] + encoded + suffix

        return one

    def many(*ids: str) -> bytes:
        if len(ids) != len(join_keys):
            raise TypeError(f"expected {len(join_keys)} ids ({', '.join(join_keys)}), got {len(ids)}")
        key = prefix
        for position in order:
            encoded = ids[position].encode()
            key += _ID_HEADERS[len(encoded)] + encoded
        return key + suffix

    return many


def join_values(key: bytes, project: bytes) -> dict[str, str] | None:
    """Return the id by join key of an entity of a project, or None for another key."""
    texts: list[str] = []
    try:
        (count,) = struct.unpack_from("<I", key)
        position = 4
        # the project's name may be the end of another's, so that the ids are read up to their end
        while len(texts) < 2 * count:
            kind, length = struct.unpack_from("<II", key, position)
            start, position = position + 8, position + 8 + length
            if kind != _STRING or position > len(key):
                return None
            texts.append(key[start:position].decode())
    except (struct.error, UnicodeDecodeError):
        return None
    return dict(zip(texts, texts[count:], strict=False)) if key[position:] == project else None


def _prefix(join_keys: Sequence[str]) -> bytes:
    prefix = struct.pack("<I", len(join_keys))
    for name in map(str.encode, sorted(join_keys)):
        prefix += struct.pack("<II", _STRING, len(name)) + name
    return prefix
