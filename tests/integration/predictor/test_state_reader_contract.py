"""What the service relies on, of the real reader and of the fake that its unit tests use."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from reprise.predictor.storage.state_reader import StateReader
from reprise.store.exceptions import CorruptRowError
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import OnlineReader
from support.fake_reader import FakeReader
from support.redis import RedisServer
from support.served_bundles import numbers_of, small_plan

pytestmark = pytest.mark.redis

USER = ViewCodec("reprise", numbers_of(small_plan().user.view))
PAIR = ViewCodec("reprise", small_plan().pair.view)
STATE = (3, 90.0, 12.5, None, 4, 1.0)


class Subject:
    def __init__(
        self, reader: StateReader, put: Callable[..., None], corrupt: Callable[[bytes], Any]
    ) -> None:
        self.reader = reader
        self.put = put
        self.corrupt = corrupt


@pytest.fixture(params=["real", "fake"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "fake":
        fake = FakeReader()
        async with fake:
            yield Subject(fake, fake.put, fake.corrupt.add)
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    settings = server.settings()
    with server.client() as client:

        def put(codec: ViewCodec, state: Sequence[Any], *ids: str) -> None:
            client.hset(codec.key(*ids), items=codec.encode(state, b"\x01" + bytes(16), 0))

        async with OnlineReader(settings) as reader:
            yield Subject(reader, put, lambda key: client.set(key, b"no hash"))


async def test_rows_are_returned_in_the_requested_order(subject: Subject) -> None:
    subject.put(USER, STATE, "a")
    subject.put(PAIR, (2,), "a", "p")
    rows = await subject.reader.read(
        [(PAIR, PAIR.key("a", "p")), (USER, USER.key("nobody")), (USER, USER.key("a"))]
    )
    assert [row.known for row in rows] == [True, False, True]
    assert list(rows[0].state) == [2]
    assert list(rows[1].state) == [None] * 6
    assert list(rows[2].state) == list(STATE)


async def test_blocks_hold_one_row_for_each_key_even_if_it_repeats(subject: Subject) -> None:
    subject.put(USER, STATE, "a")
    users, pairs = await subject.reader.read_blocks([(USER, [["a", "nobody", "a"]]), (PAIR, [["a"], ["p"]])])
    assert users.known.tolist() == [True, False, True]
    np.testing.assert_array_equal(users.state[2], [3, 90.0, 12.5, np.nan, 4, 1.0])
    assert np.isnan(users.state[1]).all()
    assert (pairs.state.shape, pairs.known.tolist()) == ((1, 1), [False])


async def test_row_that_cannot_be_read_is_an_error(subject: Subject) -> None:
    subject.corrupt(USER.key("bad"))
    with pytest.raises(CorruptRowError):
        await subject.reader.read([(USER, USER.key("bad"))])
    with pytest.raises(CorruptRowError):
        await subject.reader.read_blocks([(USER, [["bad"]])])


async def test_ping_returns(subject: Subject) -> None:
    await subject.reader.ping()
