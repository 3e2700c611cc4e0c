"""Routing without I/O: slots, redirects, and calls against a cluster that changes while they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import hiredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.cluster import key_slot as redis_py_key_slot

from reprise.store.exceptions import StoreRefusedError, StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.resp import ASKING, ConnectionLostError
from reprise.store.transport.router import (
    SLOTS,
    CommandBatch,
    Router,
    SlotMap,
    key_in_slot,
    key_slot,
)

ASKED = Address("10.0.0.1", 6379)


@given(st.binary(max_size=40) | st.binary(max_size=10).map(lambda tag: b"a{" + tag + b"}b{c}"))
@example(b"foo{{bar}}zap")
@example(b"foo{bar")
def test_slots_are_those_of_another_client(key: bytes) -> None:
    assert key_slot(key) == redis_py_key_slot(key)


@given(st.integers(0, SLOTS - 1))
def test_a_key_for_a_slot_is_in_it(slot: int) -> None:
    assert key_slot(key_in_slot(b"settled:project:", slot)) == slot


@pytest.mark.parametrize(
    ("text", "nodes", "owner"),
    [
        (f"MOVED {key_slot(b'a')} 10.0.0.7:6381", [Address("10.0.0.7", 6381)], Address("10.0.0.7", 6381)),
        (f"MOVED {key_slot(b'a')} :6380", [Address("10.0.0.1", 6380)], Address("10.0.0.1", 6380)),
        (f"MOVED {key_slot(b'a')} fd00::7:6380", [Address("fd00::7", 6380)], Address("fd00::7", 6380)),
        (f"ASK {key_slot(b'a')} redis-2.internal:7000", [Address("redis-2.internal", 7000)], ASKED),
        ("CLUSTERDOWN The cluster is down", [ASKED], ASKED),
        ("ERR MOVED by a script", [], ASKED),
    ],
    ids=[
        "moved",
        "moved without a host",
        "moved to IPv6",
        "ask",
        "no redirect: asked again",
        "no redirect: an error",
    ],
)
def test_redirects_are_followed_and_nothing_else(text: str, nodes: list[Address], owner: Address) -> None:
    slots, batch = SlotMap([ASKED] * SLOTS), CommandBatch([b"a"], [b"a"], is_cluster=True)
    batch.requests(slots)
    batch.take(ASKED, [hiredis.ReplyError(text)], slots)
    assert list(batch.requests(slots)) == nodes
    batch.forget_asks()  # what waits for a node asks the owner again
    assert list(batch.requests(slots)) == [owner][: len(nodes)]


def test_a_layout_names_the_primary_of_each_slot() -> None:
    reply = [
        [0, 99, [b"10.0.0.7", 6379, b"id", []], [b"10.0.0.8", 6379, b"replica", []]],
        [100, 199, [b"", 6380, b"id"]],
        [200, SLOTS - 2, [None, 6380, b"id"]],
        [SLOTS - 1, SLOTS - 1, [b"?", 0, b"id"]],  # its address is not known yet
    ]
    slots = SlotMap.from_reply(reply, ASKED)
    assert slots.owner(99) == Address("10.0.0.7", 6379)
    assert slots.owner(100) == slots.owner(200) == Address("10.0.0.1", 6380)
    with pytest.raises(StoreUnavailableError, match=f"no node has slot {SLOTS - 1}"):
        slots.owner(SLOTS - 1)
    assert not slots.is_complete
    slots.move(SLOTS - 1, ASKED)
    assert slots.is_complete
    assert slots.primaries() == {
        Address("10.0.0.7", 6379): 0,
        Address("10.0.0.1", 6380): 100,
        ASKED: SLOTS - 1,
    }


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        *((reply, StoreRefusedError) for reply in (b"OK", [1, 2], [[0, 1]], [[0, SLOTS + 5, [b"h", 1]]])),
        (hiredis.ReplyError("NOPERM no permissions"), StoreRefusedError),
        (hiredis.ReplyError("LOADING the dataset"), StoreUnavailableError),
    ],
)
def test_what_is_no_layout_is_refused_unless_it_may_pass(reply: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"10\.0\.0\.1:6379"):
        SlotMap.from_reply(reply, ASKED)


def test_a_lost_node_is_asked_last_for_the_layout() -> None:
    first, second, third = NODES
    router = Router(
        OnlineStoreSettings(redis_host=first.host, redis_port=first.port, redis_type="redis_cluster")
    )
    assert router.candidates() == [first]
    assert router.slots is None
    router.use(SlotMap([NODES[slot % 3] for slot in range(SLOTS)]))
    router.mark_lost(first)
    assert router.candidates() == [second, third, first]
    router.forget_slots()
    assert router.slots is None
    router.use(SlotMap([third] * SLOTS))
    assert router.candidates() == [third, first]  # one that was configured is never forgotten


def test_one_server_has_every_slot_and_its_errors_are_replies() -> None:
    router = Router(OnlineStoreSettings(redis_host="h", redis_port=1))
    router.forget_slots()
    assert router.slots is not None
    batch = CommandBatch([b"a", b"b"], [b"a", b"b"], is_cluster=False)
    assert batch.requests(router.slots) == {Address("h", 1): [b"a", b"b"]}
    batch.take(Address("h", 1), ConnectionLostError("gone"), router.slots)
    assert isinstance(batch.error, ConnectionLostError)
    assert batch.requests(router.slots) == {Address("h", 1): [b"a", b"b"]}
    moved = hiredis.ReplyError("MOVED 1 other:1")
    batch.take(Address("h", 1), [moved, b"2"], router.slots)
    assert batch.replies == [moved, b"2"]
    assert not batch.pending
    assert batch.error is None


NODES = [Address("node", port) for port in (1, 2, 3)]
KEYS = [b"key-%d" % number for number in range(12)]
LOST, LOST_AFTER_RUNNING, TRYAGAIN = "lost", "lost after running", "TRYAGAIN"


@dataclass
class FakeCluster:
    """A cluster as its specification has it: each key is at the owner of its slot, or on its way to another node."""

    owners: dict[bytes, Address]
    targets: dict[bytes, Address]
    faults: list[str | None]
    ran: Counter[bytes] = field(default_factory=Counter)
    lost: set[bytes] = field(default_factory=set)

    def answer(self, node: Address, frame: Sequence[bytes]) -> list[Any] | ConnectionLostError:
        fault = self.faults.pop() if self.faults else None
        if fault == LOST:
            return ConnectionLostError(f"{node}: gone")
        replies: list[Any] = []
        asking = False
        for command in frame:
            if command == ASKING:
                asking = True
                replies.append(b"OK")
                continue
            replies.append(self._reply(node, command, asking, fault))
            asking = False
        if fault == LOST_AFTER_RUNNING:
            self.lost.update(frame)
            return ConnectionLostError(f"{node}: gone")
        return replies

    def _reply(self, node: Address, key: bytes, asking: bool, fault: str | None) -> Any:
        owner, target = self.owners[key], self.targets.get(key)
        if node == owner and target is not None:
            return hiredis.ReplyError(f"ASK {key_slot(key)} {target}")
        if node == owner or (node == target and asking):
            if fault == TRYAGAIN:
                return hiredis.ReplyError("TRYAGAIN Multiple keys request during rehashing of slot")
            self.ran[key] += 1
            return b"reply to " + key
        return hiredis.ReplyError(f"MOVED {key_slot(key)} {owner}")

    def finish_migration(self, key: bytes) -> None:
        if key in self.targets:
            self.owners[key] = self.targets.pop(key)


NODE = st.sampled_from(NODES)
FAULTS = st.lists(st.sampled_from([None, None, LOST, LOST_AFTER_RUNNING, TRYAGAIN]), max_size=8)


@given(
    owners=st.fixed_dictionaries(dict.fromkeys(KEYS, NODE)),
    believed=st.fixed_dictionaries(dict.fromkeys(KEYS, NODE)),
    targets=st.dictionaries(st.sampled_from(KEYS), NODE),
    arrivals=st.lists(st.sets(st.sampled_from(KEYS)), max_size=4),
    faults=FAULTS,
    commands=st.permutations(KEYS).map(lambda keys: keys[:8]),
)
def test_every_command_runs_at_the_node_that_has_its_key(
    owners: dict[bytes, Address],
    believed: dict[bytes, Address],
    targets: dict[bytes, Address],
    arrivals: list[set[bytes]],
    faults: list[str | None],
    commands: list[bytes],
) -> None:
    """Whatever moves, redirects, fails or is lost meanwhile; twice only where an answer was lost."""
    targets = {key: target for key, target in targets.items() if target != owners[key]}
    cluster = FakeCluster(dict(owners), targets, list(faults))
    slots = SlotMap([NODES[0]] * SLOTS)
    for key, node in believed.items():
        slots.move(key_slot(key), node)
    batch = CommandBatch(commands, commands, is_cluster=True)
    steps = 0
    while batch.pending:
        steps += 1
        assert steps < 40, "the call makes no progress"
        waited = list(batch.pending)
        requests = batch.requests(slots)
        sent = [command for frame in requests.values() for command in frame if command != ASKING]
        assert sorted(sent) == sorted(commands[position] for position in waited)
        for address, frame in requests.items():
            batch.take(address, cluster.answer(address, frame), slots)
        for key in arrivals.pop() if arrivals else ():
            cluster.finish_migration(key)
    assert batch.replies == [b"reply to " + command for command in commands]
    for command in commands:
        assert cluster.ran[command] == 1 or command in cluster.lost


@given(st.sets(st.sampled_from(KEYS), min_size=1))
def test_a_command_after_an_ask_follows_asking_and_the_map_stays(keys: set[bytes]) -> None:
    slots = SlotMap([NODES[0]] * SLOTS)
    commands = sorted(keys)
    batch = CommandBatch(commands, commands, is_cluster=True)
    batch.requests(slots)
    asks = [hiredis.ReplyError(f"ASK {key_slot(key)} {NODES[1]}") for key in commands]
    batch.take(NODES[0], asks, slots)
    assert batch.error is None
    assert not batch.moved
    assert batch.requests(slots) == {NODES[1]: [each for key in commands for each in (ASKING, key)]}
    refused = [each for _ in commands for each in (hiredis.ReplyError("NOPERM"), b"never run")]
    batch.take(NODES[1], refused, slots)
    assert [str(reply) for reply in batch.replies] == ["NOPERM"] * len(commands)
    assert slots.primaries() == {NODES[0]: 0}
