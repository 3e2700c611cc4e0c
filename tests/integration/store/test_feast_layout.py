"""What Feast writes we read, what we write Feast reads, and both write the same bytes."""

# ruff: noqa: PLC0415 - Feast takes seconds to import, which only these tests should pay

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reprise.store.feast.codec import State, ViewCodec
from reprise.store.feast.view import WATERMARKS
from reprise.store.online_store import GuardedWrite, OnlineStore, StoredRow
from support.redis import RedisServer
from support.redis_cluster import RedisCluster
from support.rows import PAIR, PAIR_CODEC, PRODUCT, PRODUCT_CODEC, PROJECT, STATE, USER, USER_CODEC

pytestmark = [pytest.mark.feast, pytest.mark.redis]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMESTAMP_US = 1_763_900_000_123_456
VIEWS = (USER, PRODUCT, PAIR)

ROWS: dict[str, tuple[ViewCodec, tuple[str, ...], State, bytes | None]] = {
    "plain": (USER_CODEC, ("u-1",), STATE, b"\x01\x02\x00\xff"),
    "zeros": (USER_CODEC, ("u-1",), [0, 0.0, 0, -0.0], b"w"),
    "nulls": (USER_CODEC, ("u-1",), [None, 1.5, None, None], None),
    "only a null": (USER_CODEC, ("u-1",), [1, None, 2, None], b"w" * 200),
    "negative": (USER_CODEC, ("u-1",), [-1, -1e-300, -(1 << 63), -1e308], b"w"),
    "large": (USER_CODEC, ("u-1",), [(1 << 63) - 1, 1e308, 1 << 56, math.pi], b"w"),
    "two groups": (USER_CODEC, ("u-1",), [127, 0.1, 128, 0.2], b"w"),
    "seven and eight groups": (USER_CODEC, ("u-1",), [(1 << 49) - 1, 1.0, 1 << 49, 2.0], b"w"),
    "eight and nine groups": (USER_CODEC, ("u-1",), [(1 << 56) - 1, 1.0, 1 << 57, 2.0], b"w"),
    "product": (PRODUCT_CODEC, ("p-1",), STATE, b"w"),
    "pair": (PAIR_CODEC, ("u-1", "p-2"), STATE, b"w"),
    "unicode": (PAIR_CODEC, ("Zoë 🛒", "ß"), STATE, b"w"),
    "empty ids": (PAIR_CODEC, ("", ""), STATE, b"w"),
    "long id": (USER_CODEC, ("u" * 300,), STATE, b"w"),
}


def feast_objects(path: Path) -> list[Any]:
    """The entities and feature views that a Feast repository would declare for our views."""
    from feast import Entity, FeatureView, Field, FileSource
    from feast.types import Bytes, Float64, Int64, String
    from feast.value_type import ValueType

    types = {"int64": Int64, "double": Float64}
    entities = {
        key: Entity(name=key.removesuffix("_id"), join_keys=[key], value_type=ValueType.STRING)
        for key in PAIR.join_keys
    }
    views = [
        FeatureView(
            name=view.name,
            entities=[entities[key] for key in view.join_keys],
            schema=[
                *(Field(name=key, dtype=String) for key in view.join_keys),
                *(Field(name=field.name, dtype=types[field.kind]) for field in view.fields),
                Field(name=WATERMARKS, dtype=Bytes),
            ],
            source=FileSource(path=str(path / f"{view.name}.parquet"), timestamp_field="event_timestamp"),
            ttl=timedelta(0),
        )
        for view in VIEWS
    ]
    return [*entities.values(), *views]


@pytest.fixture(scope="module")
def feast_store(session_redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return feast_store_on(session_redis_server, "redis", tmp_path_factory.mktemp("feast"))


def feast_store_on(server: RedisServer | RedisCluster, redis_type: str, path: Path) -> Any:
    from feast import FeatureStore, RepoConfig

    address = f"{server.host}:{server.port}"
    store = FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(path / "registry.db"),
            online_store={"type": "redis", "redis_type": redis_type, "connection_string": address},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    store.apply(feast_objects(path))
    return store


def write_with_feast(
    store: Any,
    codec: ViewCodec,
    ids: tuple[str, ...],
    state: State,
    watermarks: bytes | None,
    timestamp_us: int = TIMESTAMP_US,
) -> None:
    import pandas as pd

    view = codec.view
    columns: dict[str, Any] = {key: [value] for key, value in zip(view.join_keys, ids, strict=True)}
    for field, number in zip(view.fields, state, strict=True):
        columns[field.name] = pd.array([number], dtype="Int64" if field.kind == "int64" else "Float64")
    columns[WATERMARKS] = pd.Series([watermarks], dtype=object)
    columns["event_timestamp"] = [EPOCH + timedelta(microseconds=timestamp_us)]
    store.write_to_online_store(view.name, pd.DataFrame(columns))


def read_with_feast(store: Any, codec: ViewCodec, ids: tuple[str, ...]) -> Mapping[str, Any]:
    view = codec.view
    names = [*(field.name for field in view.fields), WATERMARKS]
    answer = store.get_online_features(
        features=[f"{view.name}:{name}" for name in names],
        entity_rows=[dict(zip(view.join_keys, ids, strict=True))],
    ).to_dict()
    return {name: answer[name][0] for name in names}


@pytest.fixture
def our_store(redis_server: RedisServer) -> Iterator[OnlineStore]:
    with OnlineStore.connect(redis_server.settings()) as store:
        yield store


@pytest.mark.parametrize("name", ROWS)
def test_our_bytes_are_feasts_bytes_and_each_reads_what_the_other_wrote(
    name: str, feast_store: Any, our_store: OnlineStore, redis_server: RedisServer
) -> None:
    codec, ids, state, watermarks = ROWS[name]
    key = codec.key(*ids)
    write_with_feast(feast_store, codec, ids, state, watermarks)
    ours = codec.encode(state, watermarks, TIMESTAMP_US)
    with redis_server.client() as client:
        assert client.keys("*") == [key]
        assert client.hgetall(key) == dict(zip(ours[::2], ours[1::2], strict=True))
        assert our_store.read([(codec, key)]) == [StoredRow(list(state), watermarks, TIMESTAMP_US)]
        client.delete(key)
    written = watermarks or b""
    assert our_store.write_guarded([GuardedWrite(codec, key, None, state, written, TIMESTAMP_US)]) == [True]
    answer = read_with_feast(feast_store, codec, ids)
    assert [*answer.values()] == [*state, written]


def test_feast_and_we_share_a_cluster(redis_cluster: RedisCluster, tmp_path: Path) -> None:
    feast = feast_store_on(redis_cluster, "redis_cluster", tmp_path)
    with OnlineStore.connect(redis_cluster.settings()) as ours:
        for number, (codec, ids, state, watermarks) in enumerate(ROWS.values()):
            write_with_feast(feast, codec, ids, state, watermarks, TIMESTAMP_US + number)
            (row,) = ours.read([(codec, codec.key(*ids))])
            assert (row.state, row.watermarks) == (state, watermarks)
        write = GuardedWrite(USER_CODEC, USER_CODEC.key("new"), None, STATE, b"w", TIMESTAMP_US)
        assert ours.write_guarded([write]) == [True]
    answer = read_with_feast(feast, USER_CODEC, ("new",))
    assert [answer[field.name] for field in USER.fields] == STATE


@pytest.mark.parametrize("timestamp_us", [0, 1, 999_999, 1_000_000, TIMESTAMP_US // 10**6 * 10**6])
def test_our_timestamps_are_feasts_timestamps(
    timestamp_us: int, feast_store: Any, redis_server: RedisServer
) -> None:
    write_with_feast(feast_store, USER_CODEC, ("u",), STATE, b"w", timestamp_us)
    with redis_server.client() as client:
        stored = client.hget(USER_CODEC.key("u"), USER_CODEC.timestamp_field.decode())
    assert stored == USER_CODEC.encode(STATE, b"w", timestamp_us)[-1]


def test_feast_does_not_take_a_row_back_behind_our_newest_event(
    feast_store: Any, our_store: OnlineStore
) -> None:
    key = USER_CODEC.key("u")
    our_store.write_guarded([GuardedWrite(USER_CODEC, key, None, STATE, b"ours", TIMESTAMP_US)])
    for timestamp_us in (TIMESTAMP_US - 1, TIMESTAMP_US):
        write_with_feast(feast_store, USER_CODEC, ("u",), [0, 0.0, 0, 0.0], b"feast's", timestamp_us)
        assert our_store.read([(USER_CODEC, key)])[0].state == STATE


@pytest.mark.parametrize("watermarks", [b"backfilled", None])
def test_a_row_that_feast_wrote_is_guarded_by_the_watermarks_it_carries(
    watermarks: bytes | None, feast_store: Any, our_store: OnlineStore
) -> None:
    write_with_feast(feast_store, USER_CODEC, ("u",), STATE, watermarks)
    for expected, written in ((b"others", False), (watermarks, True)):
        write = GuardedWrite(USER_CODEC, USER_CODEC.key("u"), expected, STATE, b"new", TIMESTAMP_US + 1)
        assert our_store.write_guarded([write]) == [written]
