"""The packed list of a user's products, the latest purchase first.

An entry is the time of the latest purchase as eight bytes, the length of the product's id as two, and the id in UTF-8,
all big-endian. The time is 2^62 microseconds more than since 1970-01-01 UTC, so that entries sort as bytes by time.
"""

import struct

_TIME_OFFSET = 1 << 62
_HEAD = struct.Struct(">QH")
_TIME_BYTES = 8

SQL_ENTRY = (
    f"lpad(hex({{frame}}_t + {_TIME_OFFSET}), 16, '0') || lpad(hex({{bytes}}), 4, '0') || hex(product_id)"
)
"""The entry of an event of a frame as hexadecimal text; ``bytes`` is SQL of the number of bytes of the product's id."""


def pack_entry(timestamp_us: int, product_id: str) -> bytes:
    """Return the list of one product."""
    name = product_id.encode()
    return _HEAD.pack(timestamp_us + _TIME_OFFSET, len(name)) + name


def merge_lists(left: bytes, right: bytes, limit: int) -> bytes:
    """Return the ``limit`` products of two lists with the latest purchases, each at its latest.

    Purchases are never taken back, so a product beyond the limit returns only with a later purchase of its own.
    """
    latest: dict[bytes, bytes] = {}
    for entry in _entries(left + right):
        product = entry[_TIME_BYTES:]
        if latest.get(product, b"") < entry:
            latest[product] = entry
    return b"".join(sorted(latest.values(), reverse=True)[:limit])


def unpack_list(packed: bytes) -> list[tuple[int, str]]:
    """Return the time of the latest purchase, microseconds since 1970-01-01 UTC, and the id of each product."""
    return [
        (_HEAD.unpack_from(entry)[0] - _TIME_OFFSET, entry[_HEAD.size :].decode())
        for entry in _entries(packed)
    ]


def _entries(packed: bytes) -> list[bytes]:
    entries, start = [], 0
    while start < len(packed):
        end = start + _HEAD.size + (packed[start + _TIME_BYTES] << 8) + packed[start + _TIME_BYTES + 1]
        entries.append(packed[start:end])
        start = end
    return entries
