"""Rows that are taken apart as bytes, against hiredis, the parser that is always right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import hiredis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.store.exceptions import CorruptRowError
from reprise.store.feast import protobuf
from reprise.store.settings import Address
from reprise.store.transport.connection import Connection
from reprise.store.transport.resp_rows import RespRowBuffer, RespRows
from support.rows import STATE, USER_CODEC, states

WIDTH = 5
PONG = b"+PONG\r\n"
Values = list[bytes | None]

# What of a value may look like the protocol around it.
PIECES = st.sampled_from(
    [b"\r\n", b"$", b"$9\r\n", b"$-1\r\n", b"*5\r\n", b"+PONG\r\n", b"-ERR", b"\n", b"x", b"9"]
)
TREACHEROUS = st.lists(PIECES, max_size=6).map(b"".join)
LENGTHS = st.sampled_from([0, 1, 9, 10, 11, 98, 99, 100, 101, 1000]).map(bytes)
VALUES = st.none() | st.binary(max_size=12) | TREACHEROUS | LENGTHS
PLAIN_ROWS = st.lists(st.none() | st.binary(max_size=12), min_size=WIDTH, max_size=WIDTH)
ROWS = PLAIN_ROWS | st.lists(VALUES, min_size=WIDTH, max_size=WIDTH)
ERRORS = st.sampled_from([b"-WRONGTYPE not a hash\r\n", b"-MOVED 1 h:1\r\n", b"-\r\n"])


def encoded(row: Values) -> bytes:
    """What Redis answers where the row holds these values."""
    values = (b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value) for value in row)
    return b"*%d\r\n" % len(row) + b"".join(values)


def lists(found: list[Any] | RespRows) -> list[Any]:
    """The rows as hiredis gives them."""
    if not isinstance(found, RespRows):
        return [str(reply) if isinstance(reply, hiredis.ReplyError) else reply for reply in found]
    return [
        [
            None if length < 0 else bytes(found.data[start : start + length])
            for start, length in zip(*row, strict=True)
        ]
        for row in zip(found.starts.tolist(), found.lengths.tolist(), strict=True)
    ]


def parsed(data: bytes) -> list[Any]:
    reader = hiredis.Reader()
    reader.feed(data)
    return lists(list(iter(reader.gets, False)))


PLAIN_SENT, ROWS_SENT = PLAIN_ROWS.map(encoded), ROWS.map(encoded)
ROWS_OR_ERRORS = ROWS_SENT | ERRORS


class DeafTransport(asyncio.Transport):
    """Writes nowhere; the test answers."""

    def write(self, data: Any) -> None:
        pass


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def answered(requests: list[bytes | list[bytes]], pieces: list[bytes]) -> list[list[Any] | RespRows]:
    """What is found by requests for rows, or for one reply that is no row, when these bytes come."""
    loop = asyncio.get_running_loop()
    connection = Connection(loop, Address("h", 1))
    connection.connection_made(DeafTransport())
    until = loop.time() + 60
    asked = [
        loop.create_task(
            connection.execute(b"", 1, until)
            if isinstance(answer, bytes)
            else connection.execute_rows(b"", len(answer), WIDTH, until)
        )
        for answer in requests
    ]
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    assert connection.pending == 0
    assert connection.alive
    return list(await asyncio.gather(*asked))


def cut(data: bytes, at: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *sorted(set(at)), len(data)]) if start < end]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[bytes | list[bytes]], list[bytes]]:
    """Requests for a row or for blocks of them by their answers, and all of these in pieces."""
    blocks = (st.lists(rows, min_size=1, max_size=4) for rows in (ROWS_OR_ERRORS, ROWS_SENT, PLAIN_SENT))
    requests = draw(st.lists(st.one_of(*blocks, ROWS_OR_ERRORS), min_size=1, max_size=4))
    # A server that is loading or busy answers so to PING as well.
    pong = draw(st.just(PONG) | ERRORS)
    data = b"".join(answer if isinstance(answer, bytes) else b"".join(answer) + pong for answer in requests)
    return requests, cut(data, draw(st.lists(st.integers(1, len(data)), max_size=8)))


@given(conversations())
def test_rows_come_as_hiredis_reads_them_however_the_bytes_are_cut_and_whatever_is_asked_besides(
    loop: asyncio.AbstractEventLoop, conversation: tuple[list[bytes | list[bytes]], list[bytes]]
) -> None:
    requests, pieces = conversation
    found = loop.run_until_complete(answered(requests, pieces))
    expected = [parsed(answer if isinstance(answer, bytes) else b"".join(answer)) for answer in requests]
    assert [lists(each) for each in found] == expected


COMMON: list[Values] = [
    [b"\x20\x08", b"\x29" + bytes(8), None, b"", b"\x08\xd2\x06"],
    [None] * WIDTH,
    [b"x" * 99, b"x" * 10, b"9$", b"\r\n", b"\x08"],
]


def test_common_rows_are_taken_apart_without_hiredis_wherever_the_bytes_are_cut(
    loop: asyncio.AbstractEventLoop,
) -> None:
    block = [encoded(row) for row in COMMON]
    data = b"".join(block) + PONG
    for at in range(1, len(data)):
        (found,) = loop.run_until_complete(answered([block], cut(data, [at])))
        assert isinstance(found, RespRows)
        assert lists(found) == COMMON


def test_blocks_that_wait_for_one_another_are_all_taken_apart_without_hiredis(
    loop: asyncio.AbstractEventLoop,
) -> None:
    block = [encoded(row) for row in COMMON]
    data = b"".join(block) + PONG
    for size in (1, 7, len(data), len(data) + 30, 4 * len(data)):
        pieces = cut(4 * data, list(range(size, 4 * len(data), size)))
        found = loop.run_until_complete(answered([block] * 4, pieces))
        assert all(isinstance(each, RespRows) for each in found)
        assert [lists(each) for each in found] == [COMMON] * 4


UNCOMMON: dict[str, list[Values]] = {
    "a long last value": [COMMON[0], [None, None, None, None, b"x" * 100], COMMON[1]],
    "a longer one": [COMMON[0], [b"x" * 1000, None, None, None, b"x"], COMMON[1]],
    "a value like a value": [COMMON[0], [b"\r\n$9\r\n", None, None, None, b"x"], COMMON[1]],
    "a last value like a value": [COMMON[0], [b"x", None, None, None, b"\r\n$1\r\nx"], COMMON[1]],
    "rows of another width": [[b"a"] * (WIDTH - 1), [b"b"] * (WIDTH + 1)],
    "an end within a long value": [[None, None, None, None, (b"x" * 9 + b"\r\n" + PONG).ljust(100)]],
}


@pytest.mark.parametrize("rows", UNCOMMON.values(), ids=UNCOMMON)
def test_uncommon_rows_are_left_to_hiredis(loop: asyncio.AbstractEventLoop, rows: list[Values]) -> None:
    block = [encoded(row) for row in rows]
    (found,) = loop.run_until_complete(answered([block], [b"".join(block) + PONG]))
    assert found == rows


def test_a_value_that_holds_a_whole_row_does_not_stand_in_for_one_that_is_an_error(
    loop: asyncio.AbstractEventLoop,
) -> None:
    forged: Values = [b"a", b"a", b"a", b"a", b"x\r\n" + encoded([b"a"] * WIDTH)]
    block = [encoded(forged), b"-WRONGTYPE not a hash\r\n", encoded([b"b"] * WIDTH)]
    (found,) = loop.run_until_complete(answered([block], [b"".join(block) + PONG]))
    assert lists(found) == [forged, "WRONGTYPE not a hash", [b"b"] * WIDTH]


@pytest.mark.parametrize("head", [b"*4\r\n", b":5\r\n", b"~5\r\n"])
def test_values_without_the_head_of_a_row_are_not_believed(head: bytes) -> None:
    whole = encoded(COMMON[0])
    for data in (head + whole[4:] + whole, whole + head + whole[4:]):
        reply = RespRowBuffer(2, WIDTH)
        assert reply.feed(data + PONG, last=True)
        assert reply.parse() == (None, data + PONG)


def raw(rows: list[Values]) -> RespRows:
    reply = RespRowBuffer(len(rows), WIDTH)
    assert reply.feed(b"".join(map(encoded, rows)) + PONG, last=True)
    found, _ = reply.parse()
    assert found is not None
    return found


def test_rows_of_several_servers_are_put_in_order() -> None:
    joined = RespRows.joined([([2, 0], raw([COMMON[2], COMMON[0]])), ([1], raw([COMMON[1]]))])
    assert lists(joined) == COMMON


def stored(state: list[float | int | None]) -> Values:
    row = USER_CODEC.encode(state, None, 1)
    content = dict(zip(row[::2], row[1::2], strict=True))
    return [content[field] for field in USER_CODEC.read_fields]


@given(st.lists(states().map(stored) | st.just([None] * WIDTH) | st.just([b""] * WIDTH), min_size=1))
def test_rows_decode_as_lists_of_them_do(rows: list[Values]) -> None:
    reply = RespRowBuffer(len(rows), WIDTH)
    reply.feed(b"".join(map(encoded, rows)) + PONG, last=True)
    found, _ = reply.parse()
    if found is not None:
        keys = [b"%d" % number for number in range(len(rows))]
        np.testing.assert_array_equal(
            USER_CODEC.decode_resp_rows(found, keys), USER_CODEC.decode_many(rows, keys)
        )


@pytest.mark.parametrize("value", [protobuf.encode_double(1.0), b"\x20" + b"\x80" * 8, b"?"])
def test_a_corrupt_value_is_named_as_in_a_list(value: bytes) -> None:
    rows = [stored(STATE), stored(STATE), [None] * WIDTH, stored(STATE)]
    rows[3][2] = value
    keys = [b"k0", b"k1", b"k2", b"k3"]
    with pytest.raises(CorruptRowError, match=r"user_state\.last_purchase of key b'k3'") as from_bytes:
        USER_CODEC.decode_resp_rows(raw(rows), keys)
    with pytest.raises(CorruptRowError) as from_lists:
        USER_CODEC.decode_many(rows, keys)
    assert str(from_bytes.value) == str(from_lists.value)
