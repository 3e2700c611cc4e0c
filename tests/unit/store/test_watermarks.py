import uuid
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.store.exceptions import CorruptWatermarksError, WatermarkRegressionError
from reprise.store.watermarks import Watermarks

TOPIC = uuid.UUID("6b1f3c52-9a53-4c8e-8a55-0a4b7f0f2f11").bytes
OTHER = uuid.UUID("00000000-0000-0000-0000-000000000001").bytes
PARTITION = st.integers(0, (1 << 31) - 1) | st.integers(0, 20)
OFFSET = st.integers(0, (1 << 63) - 1) | st.integers(0, 1000)
OFFSETS = st.dictionaries(PARTITION, OFFSET, max_size=8)


@given(OFFSETS)
def test_watermarks_come_back_for_their_own_topic_and_none_for_another(offsets: Mapping[int, int]) -> None:
    data = Watermarks(TOPIC, offsets).to_bytes()
    assert Watermarks.parse(data) == Watermarks.parse(data, TOPIC) == Watermarks(TOPIC, offsets)
    assert Watermarks.parse(data, OTHER) == Watermarks.parse(None, OTHER) == Watermarks(OTHER)


@given(OFFSETS, st.randoms())
def test_the_same_watermarks_make_the_same_bytes_in_whatever_order_they_came_about(
    offsets: Mapping[int, int], random: object
) -> None:
    shuffled = list(offsets.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    watermarks = Watermarks(TOPIC)
    for partition, offset in shuffled:
        watermarks = watermarks.advance({partition: offset})
    assert watermarks.to_bytes() == Watermarks(TOPIC, offsets).to_bytes()


@given(OFFSETS, PARTITION, OFFSET)
def test_a_position_is_covered_up_to_the_last_folded_offset_of_its_partition(
    offsets: Mapping[int, int], partition: int, offset: int
) -> None:
    watermarks = Watermarks(TOPIC, offsets)
    assert watermarks.covers(partition, offset) == (partition in offsets and offset <= offsets[partition])


@given(OFFSETS, PARTITION, OFFSET)
def test_advancing_covers_what_it_advanced_to_and_leaves_the_other_partitions(
    offsets: Mapping[int, int], partition: int, offset: int
) -> None:
    before = Watermarks(TOPIC, offsets)
    if before.covers(partition, offset):
        with pytest.raises(WatermarkRegressionError, match=f"partition {partition} is folded up to"):
            before.advance({partition: offset})
        return
    after = before.advance({partition: offset})
    assert after.offsets == {**offsets, partition: offset}
    assert before.offsets == offsets


def test_the_watermarks_of_a_users_row_take_at_most_two_dozen_bytes() -> None:
    assert len(Watermarks(TOPIC, {11: 123_456_789}).to_bytes()) <= 24


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x02" + TOPIC,
        b"\x01" + TOPIC + b"\x00",
        b"\x01" + TOPIC + b"\x00\x80",
        b"\x01" + TOPIC + b"\xff\xff\xff\xff\xff\x01\x00",
    ],
)
def test_bytes_that_are_no_watermarks_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptWatermarksError):
        Watermarks.parse(data, TOPIC)


@given(st.binary(max_size=40))
def test_any_bytes_are_either_refused_or_read_back_the_same(tail: bytes) -> None:
    try:
        watermarks = Watermarks.parse(b"\x01" + TOPIC + tail, TOPIC)
    except CorruptWatermarksError:
        return
    assert Watermarks.parse(watermarks.to_bytes(), TOPIC) == watermarks


@pytest.mark.parametrize(("partition", "offset"), [(-1, 0), (0, -1), (1 << 31, 0), (0, 1 << 63)])
def test_a_position_outside_any_log_is_refused(partition: int, offset: int) -> None:
    with pytest.raises(ValueError, match="no position of a log"):
        Watermarks(TOPIC, {partition: offset})


def test_a_topic_id_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, got 3"):
        Watermarks(b"abc")


@given(OFFSETS, OFFSETS)
def test_first_position_beyond_others_is_one_that_they_do_not_cover(
    offsets: Mapping[int, int], others: Mapping[int, int]
) -> None:
    watermarks, other = Watermarks(TOPIC, offsets), Watermarks(TOPIC, others)
    beyond = [position for position in offsets.items() if not other.covers(*position)]
    assert watermarks.first_beyond(other) == (beyond[0] if beyond else None)
    assert watermarks.first_beyond(watermarks) is None
