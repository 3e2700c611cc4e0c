"""Removing the rows that a backfill has not written, where it is to replace what was there.

A row that the stream made of records past the archive would say of those that they are folded already, and
their users and products would never get them. Feast's views with the same join keys share a hash, so the
fields of the view are removed and not the key.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import islice

from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import OnlineStore
from reprise.store.transport.resp import pack

_KEYS_A_ROUND_TRIP = 1_000
_LENGTHS = struct.Struct("<II")


class ReplaceableStore(OnlineStore):
    """The online store, and the removal of rows from it; nothing else may write meanwhile."""

    def remove_others(self, codec: ViewCodec, watermarks: bytes) -> int:
        """Remove the rows of a view that have other watermarks, and return how many they were.

        Raises:
            StoreError: The store is away, or refuses.
        """
        removed = 0
        keys = self._keys(codec)
        while some := list(islice(keys, _KEYS_A_ROUND_TRIP)):
            rows = self.read([(codec, key) for key in some])
            others = [
                key
                for key, row in zip(some, rows, strict=True)
                if row.exists and row.watermarks != watermarks
            ]
            self._remove(codec, others)
            removed += len(others)
        return removed

    def _keys(self, codec: ViewCodec) -> Iterator[bytes]:
        """Yield the keys of the view's join keys; one may come several times."""
        head = key_head(codec)
        pattern = b"".join(b"\\" + bytes([c]) if c in b"*?[]\\^-" else bytes([c]) for c in head) + b"*"
        with self.convert_errors("list the rows"):
            for key in self.transport.scan(pattern, _KEYS_A_ROUND_TRIP):
                if is_key_of(codec, head, key):
                    yield key

    def _remove(self, codec: ViewCodec, keys: Sequence[bytes]) -> None:
        doing = f"remove {len(keys)} rows"
        replies = self.execute([pack(b"HDEL", key, *codec.fold_fields) for key in keys], keys, doing)
        self.raise_first_error(replies, [(codec, key) for key in keys], doing)


def key_head(codec: ViewCodec) -> bytes:
    """Return what the keys of all rows of a view begin with."""
    joins = len(codec.view.join_keys)
    tail = _LENGTHS.size * joins + len(codec.project.encode())
    return codec.key(*("" for _ in range(joins)))[:-tail]


def is_key_of(codec: ViewCodec, head: bytes, key: bytes) -> bool:
    """Tell whether a key is one of the view's project: another's name may end like this one's."""
    if not key.startswith(head):
        return False
    position = len(head)
    for _ in codec.view.join_keys:
        if position + _LENGTHS.size > len(key):
            return False
        _, length = _LENGTHS.unpack_from(key, position)
        position += _LENGTHS.size + length
    return key[position:] == codec.project.encode()
