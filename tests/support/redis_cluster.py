"""A real Redis Cluster on this machine for the tests that need one: three primaries, a replica of each."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from reprise.store.settings import OnlineStoreSettings
from reprise.store.transport.router import SLOTS
from support.redis import MISSING, RedisServer, free_port, redis_server_path
from support.waiting import wait_until

PRIMARIES = 3
_SECONDS = 60.0
_FAILOVER_SECONDS = 6.0  # a little more than a failover that was asked for may take in Redis
_OPTIONS = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0"),
    *("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"),
)


@dataclass
class RedisCluster:
    """Six servers that have met; which of them are primaries changes."""

    servers: Sequence[RedisServer]

    @property
    def host(self) -> str:
        return self.servers[0].host

    @property
    def port(self) -> int:
        return self.servers[0].port

    @property
    def nodes(self) -> str:
        """All servers as settings take them."""
        return ",".join(f"{server.host}:{server.port}" for server in self.servers)

    def settings(self, **more: object) -> OnlineStoreSettings:
        """How to reach it by its first server."""
        return self.servers[0].settings(redis_type="redis_cluster", **more)

    def primaries(self) -> list[RedisServer]:
        return [server for server in self.servers if self._role(server) == b"master"]

    def replica_of(self, primary: RedisServer) -> RedisServer:
        found = [server for server in self.servers if self._primary_of(server) == primary.port]
        assert found, f"{primary.port} has no replica"
        return found[0]

    def fail_over(self, primary: RedisServer) -> RedisServer:
        """Have a primary's replica take its place, as both agree, and return that."""
        replica = self.replica_of(primary)
        give_up = time.monotonic() + _SECONDS
        asked = -math.inf
        while self._role(replica) != b"master":
            now = time.monotonic()
            assert now < give_up, f"{replica.port} did not take the place of {primary.port}"
            if now - asked > _FAILOVER_SECONDS:  # the others may not vote, and it asks them once
                command(replica, "CLUSTER", "FAILOVER")
                asked = now
            time.sleep(0.02)
        return replica

    def wait_until_primary(self, server: RedisServer) -> None:
        wait_until("it is a primary", lambda: self._role(server) == b"master", _SECONDS, every=0.02)

    def flush(self) -> None:
        for primary in self.primaries():
            primary.flush()

    def wait_until_whole(self) -> None:
        """Wait until every slot is served, and every primary has a replica that is up to date."""
        wait_until("the cluster is whole", self._is_whole, _SECONDS, every=0.02)

    def _is_whole(self) -> bool:
        try:
            running = [server for server in self.servers if server.is_running]
            infos = [command(server, "CLUSTER", "INFO") for server in running]
            links = [command(s, "INFO", "replication") for s in running if self._role(s) == b"slave"]
        except RedisError:
            return False
        return (
            all(b"cluster_state:ok" in info and b"cluster_known_nodes:6" in info for info in infos)
            and len(links) == len(running) - PRIMARIES
            and all(b"master_link_status:up" in link for link in links)
        )

    def _role(self, server: RedisServer) -> bytes | None:
        role: bytes | None = command(server, "ROLE")[0] if server.is_running else None
        return role

    def _primary_of(self, server: RedisServer) -> int | None:
        if not server.is_running:
            return None
        role = command(server, "ROLE")
        return int(role[2]) if role[0] == b"slave" else None


def command(server: RedisServer, *arguments: Any) -> Any:
    """Ask one server, without a client's reading of the answer."""
    with server.client() as client:
        connection = client.connection_pool.get_connection()
        connection.send_command(*arguments)
        return connection.read_response()


@contextmanager
def running_redis_cluster(*options: str) -> Iterator[RedisCluster]:
    """A fresh cluster with these further command line options, gone afterwards; skips where there is no server."""
    if redis_server_path() is None:
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(prefix="reprise-cluster-") as directory, ExitStack() as stack:
        servers = []
        for number in range(2 * PRIMARIES):
            folder = Path(directory) / str(number)
            folder.mkdir()
            server = RedisServer(folder, (*_OPTIONS, "--cluster-port", str(free_port()), *options))
            stack.callback(server.stop)
            server.start()
            servers.append(server)
        cluster = RedisCluster(servers)
        _introduce(servers)
        cluster.wait_until_whole()
        yield cluster


def _introduce(servers: Sequence[RedisServer]) -> None:
    first, share = servers[0], SLOTS // PRIMARIES
    for number, server in enumerate(servers):
        command(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if number < PRIMARIES:
            last = SLOTS - 1 if number == PRIMARIES - 1 else (number + 1) * share - 1
            command(server, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
        if server is not first:
            bus = server.options[server.options.index("--cluster-port") + 1]
            command(first, "CLUSTER", "MEET", server.host, server.port, bus)
    for number in range(PRIMARIES):
        primary, replica = servers[number], servers[number + PRIMARIES]
        identity = command(primary, "CLUSTER", "MYID")

        def knows(replica: RedisServer = replica, identity: bytes = identity) -> bool:
            return identity in command(replica, "CLUSTER", "NODES")

        wait_until("the replica knows its primary", knows, _SECONDS, every=0.02)
        command(replica, "CLUSTER", "REPLICATE", identity)
