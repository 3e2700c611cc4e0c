"""Where segments lie, and which of them are read."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.archive.layout import (
    Gap,
    Segment,
    accepted_path,
    cover,
    log_date,
    parse_accepted,
    parse_path,
)

TOPIC = "ecommerce-events"
TOPIC_ID = bytes(range(16))
DAY = date(2026, 11, 23)


def segment(first: int, last: int, partition: int = 0, topic_id: bytes = TOPIC_ID) -> Segment:
    return Segment(TOPIC, topic_id, DAY, partition, first, last)


def taken(segments: list[Segment]) -> list[tuple[int, int]]:
    (coverage,) = cover(segments)
    return [(part.first, part.segment.last) for part in coverage.parts[0]]


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt",
        "00010203-0405-0607-0809-0a0b0c0d0e0f/date=2026-11-31/p00003-00000000000000000000-00000000000000000001.parquet",
        "00010203-0405-0607-0809-0a0b0c0d0e0f/date=2026-11-23/p00003-00000000000000000002-00000000000000000001.parquet",
        "00010203-0405-0607-0809-0a0b0c0d0e0f/date=2026-11-23/.p00003-00000000000000000000-00000000000000000001.parquet",
    ],
)
def test_other_files_are_no_segments(path: str) -> None:
    assert parse_path(TOPIC, f"{TOPIC}/{path}") is None


def test_the_day_is_that_of_the_log_timestamp_in_utc() -> None:
    assert log_date(1_767_225_599_999) == date(2025, 12, 31)
    assert log_date(1_767_225_600_000) == date(2026, 1, 1)


def test_a_compacted_segment_hides_what_it_was_made_of() -> None:
    assert taken([segment(0, 4), segment(5, 9), segment(0, 9), segment(10, 12)]) == [(0, 9), (10, 12)]


def test_of_segments_that_overlap_the_later_gives_the_rest() -> None:
    assert taken([segment(0, 5), segment(3, 9)]) == [(0, 5), (6, 9)]


def test_incarnations_and_partitions_are_kept_apart() -> None:
    found = cover([segment(0, 5), segment(0, 2, partition=1), segment(0, 1, topic_id=bytes(16))])
    assert [coverage.last_offsets for coverage in found] == [{0: 1}, {0: 5, 1: 2}]
    assert [coverage.records for coverage in found] == [2, 9]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), min_size=1, max_size=12))
def test_every_offset_of_any_segments_is_read_once_or_named_as_missing(spans: list[tuple[int, int]]) -> None:
    segments = [segment(first, first + length) for first, length in spans]
    (coverage,) = cover(segments)
    read = [offset for part in coverage.parts[0] for offset in range(part.first, part.segment.last + 1)]
    missing = [offset for gap in coverage.gaps for offset in range(gap.first, gap.last + 1)]
    held = {offset for s in segments for offset in range(s.first, s.last + 1)}
    assert read == sorted(held)
    assert set(missing) == set(range(max(held) + 1)) - held


def test_a_path_says_which_hole_is_accepted_and_is_that_of_no_segment() -> None:
    gap = Gap(3, 5, 9)
    path = accepted_path(TOPIC, TOPIC_ID, gap)
    assert parse_accepted(TOPIC, path) == (TOPIC_ID, gap)
    assert parse_path(TOPIC, path) is None
    assert parse_accepted(TOPIC, segment(5, 9, 3).path) is None


@pytest.mark.parametrize(
    ("accepted", "left"),
    [
        ((TOPIC_ID, Gap(0, 10, 19)), []),
        ((TOPIC_ID, Gap(0, 0, 100)), []),
        ((TOPIC_ID, Gap(0, 10, 18)), [Gap(0, 10, 19)]),
        ((TOPIC_ID, Gap(1, 10, 19)), [Gap(0, 10, 19)]),
        ((bytes(16), Gap(0, 10, 19)), [Gap(0, 10, 19)]),
    ],
)
def test_a_hole_is_accepted_whole_and_of_its_own_topic(accepted: tuple[bytes, Gap], left: list[Gap]) -> None:
    (coverage,) = cover([segment(0, 9), segment(20, 29)], [accepted])
    assert list(coverage.gaps) == left
    assert list(coverage.accepted) == ([] if left else [Gap(0, 10, 19)])
