import pytest

from reprise.log.partitioner import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hash_equals_the_vectors_of_kafkas_own_tests(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF


def test_partition_is_of_the_hash_without_its_sign() -> None:
    assert partition_of(b"foobar", 6) == (-790332482 & 0x7FFFFFFF) % 6


def test_keys_spread_over_all_partitions() -> None:
    counts = [0] * 6
    for number in range(6000):
        counts[partition_of(f"u{number:06d}".encode(), 6)] += 1
    assert min(counts) > 800
