"""The blocking transport: each primary gets the commands on its slots in one frame.

The connections are redis-py's. Its clients and pipelines are not used: they cost as much per command as Redis and the
network together, and a pipeline cannot keep a ``WAIT`` on the connection of the writes before it.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import hiredis
from redis.connection import Connection, DefaultParser
from redis.exceptions import RedisError

from reprise.store.exceptions import StoreRefusedError, StoreUnavailableError
from reprise.store.settings import Address, OnlineStoreSettings
from reprise.store.transport.resp import (
    CLUSTER_NODES,
    CLUSTER_SLOTS,
    Command,
    ConnectionLostError,
    handshake,
    is_refusal,
    pack,
    reply_error,
)
from reprise.store.transport.router import CommandBatch, Router, SlotMap, key_in_slot

ReplicationIds = Mapping[Address, bytes]
"""The replication id of each primary; a promoted replica has another one, and so has a restarted server."""

_INFO_REPLICATION = pack(b"INFO", b"replication")
_SERVER_RETRIES = 3
_MAX_REDIRECTS = 16
_WAIT_SHARE = 0.8  # of the timeout of an answer, so that the answer still comes
_MARKER_SECONDS = 60
_Result = TypeVar("_Result")


class BlockingTransport:
    """Sends commands to one server or to the primaries of a cluster, and returns the replies.

    Methods raise ``ConnectionLostError`` where a server is away or does not answer in time, and ``StoreError`` where
    the store refuses or, as a whole, does not work. A lost connection is retried three times on one server, except
    within ``without_reconnect``. On a cluster everything that can pass is retried for as long as an answer may take,
    ``REDIS_TIMEOUT``; the slot map is requested again when a node reports a moved slot or is lost.
    """

    def __init__(self, settings: OnlineStoreSettings, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._tls = tls
        self._router = Router(settings)
        self._connections: dict[Address, BlockingConnection] = {}
        self._is_stale = False
        self._server_retries = _SERVER_RETRIES
        self._marker = b"settled:%s:" % settings.feast_project.encode()

    def execute(self, commands: Sequence[Command], keys: Sequence[bytes]) -> list[Any]:
        """Send commands, each with its key, and return their replies in order, errors of Redis among them.

        Any command may run twice.
        """
        self._refresh_if_stale()
        batch = CommandBatch(commands, keys, is_cluster=self._router.is_cluster)
        self._retry(lambda: self._send_pending(batch))
        return batch.replies

    def execute_on_primaries(self, command: Command) -> dict[Address, Any]:
        """Send a command without a key to every primary, and return the replies, errors of Redis among them."""
        self._refresh_if_stale()

        def send() -> dict[Address, Any]:
            frames = {address: [command] for address in self._known_slots().primaries()}
            return {address: reply for address, (reply,) in self._execute_on_each(frames).items()}

        return self._retry(send)

    def replication_ids(self) -> ReplicationIds:
        """Return the replication id of each primary.

        Raises:
            StoreError: A server is no primary, or refuses.
        """
        replies = self.execute_on_primaries(_INFO_REPLICATION)
        return {address: _replication_id(address, reply) for address, reply in replies.items()}

    def wait_for_replicas(self, replication_ids: ReplicationIds, replicas: int) -> None:
        """Wait until ``replicas`` replicas of each primary have what it had when this was called.

        The replication ids are those of before the reads and writes in question.

        Raises:
            StoreUnavailableError: A primary has been replaced, or too few replicas followed in time.
        """
        slots = self._router.slots
        if slots is None or slots.primaries().keys() != replication_ids.keys():
            raise StoreUnavailableError("wait for replicas", "the cluster's primaries have changed meanwhile")
        milliseconds = max(1, int(self._settings.redis_timeout * 1000 * _WAIT_SHARE))
        frames = {
            # A write comes first, because WAIT waits for the last write of its own connection.
            address: [
                pack(b"SET", self._marker_in(slot), b"", b"EX", _MARKER_SECONDS),
                pack(b"WAIT", replicas, milliseconds),
                _INFO_REPLICATION,
            ]
            for address, slot in slots.primaries().items()
        }
        try:
            for address, replies in self._execute_on_each(frames).items():
                _check_replicated(address, replies, replication_ids[address], replicas)
        except (ConnectionLostError, StoreUnavailableError):
            self._router.forget_slots()
            raise

    @contextmanager
    def without_reconnect(self) -> Iterator[None]:
        """Raise as soon as the connection to a single server is lost, until the block ends.

        A server that is connected to again may lack what was read and written before.
        """
        self._server_retries = 0
        try:
            yield
        finally:
            self._server_retries = _SERVER_RETRIES

    def scan(self, pattern: bytes, count: int) -> Iterator[bytes]:
        """Yield the keys that match; a key may come several times.

        Raises:
            StoreUnavailableError: A slot of the cluster is moving or has moved meanwhile, whose keys may be missing.
        """
        owners = self._settled_owners()
        for address in dict.fromkeys(owner for owner in owners if owner is not None):
            cursor = None
            while cursor != b"0":
                command = pack(b"SCAN", cursor or b"0", b"MATCH", pattern, b"COUNT", count)
                (reply,) = self._connection(address).execute([command])
                if isinstance(reply, hiredis.ReplyError):
                    raise reply_error(f"list the keys of {address}", reply)
                cursor, keys = reply
                yield from keys
        if self._settled_owners() != owners:
            raise StoreUnavailableError("list the keys", "slots of the cluster have moved meanwhile")

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.disconnect()

    def _retry(self, send: Callable[[], _Result]) -> _Result:
        """Call until nothing is raised that can pass, with exponential backoff and jitter between the calls."""
        give_up = time.monotonic() + self._settings.redis_timeout
        number = 0
        while True:
            try:
                return send()
            except (ConnectionLostError, StoreUnavailableError):
                self._router.forget_slots()
                pause = min(0.5, 0.05 * 2**number) * random.uniform(0.5, 1.0)
                number += 1
                is_over = (
                    time.monotonic() + pause > give_up
                    if self._router.is_cluster
                    else number > self._server_retries
                )
                if is_over:
                    raise
                time.sleep(pause)

    def _send_pending(self, batch: CommandBatch) -> None:
        """Send the pending commands and follow redirects.

        Raises:
            ConnectionLostError: A connection was lost.
            StoreUnavailableError: A node cannot run a command yet, or nodes redirect in a circle.
        """
        for _ in range(_MAX_REDIRECTS):
            slots = self._known_slots()
            for address, answer in self._send_and_receive(batch.requests(slots)).items():
                batch.take(address, answer, slots)
                self._is_stale = self._is_stale or batch.moved
            if batch.error is not None:
                raise batch.error
            if not batch.pending:
                return
        reason = f"{len(batch.pending)} commands were redirected {_MAX_REDIRECTS} times"
        raise StoreUnavailableError("follow redirects", reason)

    def _send_and_receive(
        self, frames: Mapping[Address, Sequence[Command]]
    ) -> dict[Address, list[Any] | ConnectionLostError]:
        """Send every node its frame before the first reply is received."""
        found: dict[Address, list[Any] | ConnectionLostError] = {}
        sent: dict[Address, int] = {}
        try:
            for address, frame in frames.items():
                try:
                    sent[address] = self._connection(address).send(frame)
                except ConnectionLostError as error:
                    found[address] = error
            for address, count in sent.items():
                try:
                    found[address] = self._connection(address).receive(count)
                except ConnectionLostError as error:
                    found[address] = error
        except BaseException:
            # Replies that were not received must not be taken for those of a later frame.
            for address in sent:
                self._connection(address).disconnect()
            raise
        for address, answer in found.items():
            if isinstance(answer, ConnectionLostError):
                self._router.mark_lost(address)
        return found

    def _execute_on_each(self, frames: Mapping[Address, Sequence[Command]]) -> dict[Address, list[Any]]:
        found = {}
        for address, answer in self._send_and_receive(frames).items():
            if isinstance(answer, ConnectionLostError):
                raise answer
            found[address] = answer
        return found

    def _marker_in(self, slot: int) -> bytes:
        return key_in_slot(self._marker, slot) if self._router.is_cluster else self._marker

    def _connection(self, address: Address) -> BlockingConnection:
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = BlockingConnection(self._settings, address, self._tls)
        return connection

    def _refresh_if_stale(self) -> None:
        # Only between two batches: within one, a node that knows less than the redirecting one would send us back.
        if self._is_stale:
            self._is_stale = False
            self._router.forget_slots()

    def _settled_owners(self) -> Sequence[Address | None]:
        """Return the primary of each slot as of now; raises ``StoreUnavailableError`` while a slot is moving."""
        if self._router.is_cluster:
            self._router.forget_slots()
            for address, reply in self.execute_on_primaries(CLUSTER_NODES).items():
                if isinstance(reply, hiredis.ReplyError):
                    raise reply_error(f"ask {address} for moving slots", reply)
                # [93-<-NODE] is imported from a node, [77->-NODE] is on its way to one
                if b"-<-" in reply or b"->-" in reply:
                    raise StoreUnavailableError("list the keys", f"slots of {address} are moving")
        return self._known_slots().owners

    def _known_slots(self) -> SlotMap:
        slots = self._router.slots
        if slots is None:
            slots = self._request_slots()
            self._router.use(slots)
            primaries = slots.primaries()
            for address in [known for known in self._connections if known not in primaries]:
                self._connections.pop(address).disconnect()
        return slots

    def _request_slots(self) -> SlotMap:
        """Return the slot map of the first node that can be reached.

        Raises:
            ConnectionLostError: None can.
            StoreError: The first that answers refuses.
        """
        lost = ConnectionLostError("no node is known")
        for address in self._router.candidates():
            try:
                (reply,) = self._connection(address).execute([CLUSTER_SLOTS])
            except ConnectionLostError as error:
                lost = error
                continue
            return SlotMap.from_reply(reply, address)
        raise lost


class _Parser(DefaultParser):  # type: ignore[misc, valid-type] # redis-py's choice of a class
    """Returns a server's error with all its text, where redis-py's own raises some of them."""

    parse_error = staticmethod(hiredis.ReplyError)


class BlockingConnection(Connection):
    """A connection that opens when it is first used, and again after it was lost.

    Methods raise ``ConnectionLostError`` where the server is away or does not answer in time, and
    ``StoreRefusedError`` where the credentials or the server's certificate are refused.
    """

    def __init__(self, settings: OnlineStoreSettings, address: Address, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            host=address.host,
            port=address.port,
            socket_timeout=settings.redis_timeout,
            socket_connect_timeout=settings.redis_connect_timeout,
            socket_keepalive=True,
            socket_read_size=1 << 18,
            parser_class=_Parser,
            driver_info=None,
            redis_connect_func=BlockingConnection._authenticate,
        )
        self._address = address
        self._first_commands = handshake(settings)
        self._tls_context = tls

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, errors among them as ``hiredis.ReplyError``."""
        return self.receive(self.send(commands))

    def send(self, commands: Sequence[Command]) -> int:
        """Send commands, and return their number."""
        with self._errors_converted():
            self.send_packed_command([b"".join(commands)])
        return len(commands)

    def receive(self, count: int) -> list[Any]:
        """Return the replies to commands that were sent."""
        with self._errors_converted():
            return [self.read_response() for _ in range(count)]

    def _connect(self) -> Any:
        connected = super()._connect()
        if self._tls_context is None:
            return connected
        # redis-py's own context would trust the system's authorities besides REDIS_CA_FILE.
        connected.settimeout(self.socket_connect_timeout)
        try:
            connected = self._tls_context.wrap_socket(connected, server_hostname=self.host)
        except ssl.SSLError as error:  # which closes the socket
            raise StoreRefusedError(f"connect to {self._address}", f"TLS: {error}") from error
        connected.settimeout(self.socket_timeout)
        return connected

    def _authenticate(self) -> None:
        self.on_connect()
        for reply in self.execute(self._first_commands):
            if is_refusal(reply):
                self.disconnect()
                refusal = reply_error(f"connect to {self._address}", reply)
                if isinstance(refusal, StoreRefusedError):
                    raise refusal
                raise ConnectionLostError(f"{self._address}: {reply}")

    @contextmanager
    def _errors_converted(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise ConnectionLostError(f"{self._address}: {error}") from error


def _replication_id(address: Address, reply: Any) -> bytes:
    """Return a primary's replication id from its reply to ``INFO``.

    Raises:
        StoreError: The server is no primary, or refuses.
    """
    operation = f"ask {address} for its replication"
    if isinstance(reply, hiredis.ReplyError):
        raise reply_error(operation, reply)
    fields: dict[bytes, bytes] = dict(line.split(b":", 1) for line in reply.splitlines() if b":" in line)
    if fields.get(b"role") != b"master" or b"master_replid" not in fields:
        raise StoreUnavailableError(operation, "it is no primary")
    return fields[b"master_replid"]


def _check_replicated(address: Address, replies: Sequence[Any], known_id: bytes, replicas: int) -> None:
    """Raise ``StoreError`` unless the replies say that the same primary's replicas have everything."""
    operation = f"wait for replicas of {address}"
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise StoreUnavailableError(operation, str(reply))
    _, reached, described = replies
    if _replication_id(address, described) != known_id:
        raise StoreUnavailableError(
            operation, "it has become the primary since, and may lack what was written"
        )
    if reached < replicas:
        raise StoreUnavailableError(
            operation,
            f"{reached} replicas have what was written, and REDIS_WAIT_REPLICAS asks for {replicas}",
        )
