"""The online store with removal of rows, for a backfill that replaces all rows.

The watermarks of a row that the stream wrote cover records past the archive. Left in place, they would make the stream
skip those records. Feast's views with the same join keys share a Redis hash, so the view's fields are removed, not the
key.
"""

import struct
from collections.abc import Iterator
from itertools import islice

from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.layout import join_values
from reprise.store.online_store import OnlineStore
from reprise.store.transport.resp import glob_escaped, pack

_BATCH_KEYS = 1_000
_LENGTHS = struct.Struct("<II")


class ReplaceableStore(OnlineStore):
    """An online store that can remove rows; nothing else may write meanwhile."""

    def remove_other_rows(self, codec: ViewCodec, watermarks: bytes) -> int:
        """Remove the rows of a view that have other watermarks, and return how many.

        Raises:
            StoreError: The store is unavailable, or refuses.
        """
        removed = 0
        keys = self._keys(codec)
        while batch := list(islice(keys, _BATCH_KEYS)):
            rows = self.read([(codec, key) for key in batch])
            others = [
                key
                for key, row in zip(batch, rows, strict=True)
                if row.exists and row.watermarks != watermarks
            ]
            operation = f"remove {len(others)} rows"
            replies = self.execute(
                [pack(b"HDEL", key, *codec.fold_fields) for key in others], others, operation
            )
            self.raise_first_error(replies, [(codec, key) for key in others], operation)
            removed += len(others)
        return removed

    def _keys(self, codec: ViewCodec) -> Iterator[bytes]:
        joins, project = codec.view.join_keys, codec.project.encode()
        head = codec.key(*[""] * len(joins))[: -(_LENGTHS.size * len(joins) + len(project))]
        with self.convert_errors("list the rows"):
            for key in self.transport.scan(glob_escaped(head) + b"*", _BATCH_KEYS):
                if join_values(key, project) is not None:
                    yield key
