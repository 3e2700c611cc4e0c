from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2

from reprise.log.partitioner import partition_of


@given(st.binary(max_size=40), st.integers(1, 100))
def test_partition_is_that_of_kafkas_default_partitioner(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (murmur2(key) & 0x7FFFFFFF) % partitions
