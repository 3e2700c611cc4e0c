"""Where a store of the tests is, and the Redis that is embedded in Python, which the demo falls back to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fakeredis import TcpFakeServer
from redis import Redis
from redis.cluster import RedisCluster

from support.redis import free_port


@dataclass(frozen=True)
class Address:
    host: str
    port: int
    embedded: bool = False
    cluster: bool = False

    def client(self) -> Redis:
        """A client of another make than the store's."""
        kind = RedisCluster if self.cluster else Redis
        return kind(host=self.host, port=self.port)  # type: ignore[return-value]


@contextmanager
def running_embedded_redis() -> Iterator[Address]:
    address = Address("127.0.0.1", free_port(), embedded=True)
    server = TcpFakeServer((address.host, address.port), server_type="redis", server_version=(7, 0))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
