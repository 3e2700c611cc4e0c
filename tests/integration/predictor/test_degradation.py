"""What clients see while Redis is slow, away, failing over, or refuses."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from support.faulty_proxy import FaultyProxy, faulty_proxy
from support.predictor import predictor_on, published
from support.redis import RedisServer, fail_to_save, running_redis
from support.served_bundles import bundle_files
from support.waiting import wait_until

pytestmark = pytest.mark.redis

ASK = {"user_id": "u-1", "product_id": "p-1"}
QUICK = {"redis_deadline_seconds": 0.1, "circuit_seconds": 0.1}


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultyProxy]:
    with faulty_proxy(redis_server.host, redis_server.port) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    published(tmp_path, bundle_files())
    return tmp_path


def ask(client: TestClient) -> httpx.Response:
    response: httpx.Response = client.post("/predict", json=ASK)
    return response


def seconds_of(call: Callable[[], Any]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start


def assert_unavailable(response: httpx.Response, kind: str = "store-unavailable") -> None:
    assert response.status_code == 503
    assert response.json()["type"] == f"urn:reprise:problem:{kind}"
    assert int(response.headers["retry-after"]) >= 1


def test_redis_within_the_deadline_is_answered_however_slow(proxy: FaultyProxy, store: Path) -> None:
    with predictor_on(proxy, store, redis_deadline_seconds=2.0, deadline_seconds=2.0) as client:
        proxy.delay = 0.15
        assert ask(client).status_code == 200
        assert client.get("/ready").status_code == 200


def test_redis_slower_than_the_deadline_is_503_at_the_deadline_and_then_at_once(
    proxy: FaultyProxy, store: Path
) -> None:
    with predictor_on(
        proxy, store, redis_deadline_seconds=0.1, circuit_seconds=60, circuit_failures=3
    ) as client:
        assert ask(client).status_code == 200
        proxy.delay = 0.5
        # Pings, which are slow as well, count too: they may open the circuit before the reads have.
        taken = [seconds_of(lambda: assert_unavailable(ask(client))) for _ in range(3)]
        assert max(taken) < 0.4
        wait_until("unready", lambda: client.get("/ready").status_code == 503, 10, every=0.01)
        proxy.stalled = True
        assert min(seconds_of(lambda: assert_unavailable(ask(client))) for _ in range(5)) < 0.05


@pytest.mark.parametrize("fault", ["stalled", "refusing"])
def test_silent_or_unavailable_redis_is_503_in_time_until_it_recovers_and_the_pod_stays_alive(
    proxy: FaultyProxy, store: Path, fault: str
) -> None:
    with predictor_on(proxy, store, **QUICK) as client:
        assert ask(client).status_code == 200
        setattr(proxy, fault, True)
        if fault == "refusing":
            proxy.drop_connections()
        for _ in range(8):
            assert seconds_of(lambda: assert_unavailable(ask(client))) < 0.5
        assert_unavailable(client.post("/predict/batch", json={"requests": [ASK]}))
        assert_unavailable(client.get("/features/u-1"))
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        setattr(proxy, fault, False)
        wait_until("answers again", lambda: ask(client).status_code == 200, 10, every=0.01)
        wait_until("ready again", lambda: client.get("/ready").status_code == 200, 10, every=0.01)


def test_connection_that_is_reset_between_requests_fails_no_request(proxy: FaultyProxy, store: Path) -> None:
    with predictor_on(proxy, store, redis_deadline_seconds=2.0, deadline_seconds=2.0) as client:
        for _ in range(5):
            proxy.drop_connections()
            assert ask(client).status_code == 200


def test_answer_cut_in_the_middle_is_read_again_on_another_connection(
    proxy: FaultyProxy, store: Path
) -> None:
    with predictor_on(
        proxy, store, redis_deadline_seconds=2.0, deadline_seconds=2.0, redis_ping_seconds=60
    ) as client:
        assert ask(client).status_code == 200
        before = proxy.accepted
        proxy.cut_after = 7
        assert ask(client).status_code == 200
        assert proxy.cut_after is None, "the answer was not cut"
        wait_until("connects again", lambda: proxy.accepted > before, 10, every=0.01)


def test_redis_that_cannot_save_is_read_from(store: Path) -> None:
    with running_redis() as server, faulty_proxy(server.host, server.port) as proxy:
        with predictor_on(proxy, store, **QUICK) as earlier:
            wait_until("ready", lambda: earlier.get("/ready").status_code == 200, 10, every=0.01)
            fail_to_save(server)
            before = proxy.accepted
            proxy.drop_connections()
            wait_until("connects again", lambda: proxy.accepted > before, 10, every=0.01)
            assert ask(earlier).status_code == 200
        with predictor_on(server, store) as later:
            assert ask(later).status_code == 200
            wait_until("ready", lambda: later.get("/ready").status_code == 200, 10, every=0.01)


def test_replica_that_takes_no_writes_is_read_from(store: Path) -> None:
    with (
        running_redis("--repl-diskless-sync-delay", "0") as master,
        running_redis("--replicaof", master.host, str(master.port)) as replica,
    ):
        with replica.client() as client:
            wait_until(
                "replicates", lambda: client.info("replication")["master_link_status"] == "up", 10, every=0.01
            )
        with predictor_on(replica, store) as predictor:
            assert ask(predictor).status_code == 200


def test_failover_to_another_server_is_followed(redis_server: RedisServer, store: Path) -> None:
    with (
        running_redis() as old,
        faulty_proxy(old.host, old.port) as proxy,
        predictor_on(proxy, store, **QUICK) as client,
    ):
        assert ask(client).status_code == 200
        old.stop()
        assert_unavailable(ask(client))
        proxy.redirect(redis_server.host, redis_server.port)
        wait_until("follows the failover", lambda: ask(client).status_code == 200, 10, every=0.01)
        wait_until("ready again", lambda: client.get("/ready").status_code == 200, 10, every=0.01)


def test_replica_cut_off_from_its_master_is_503_where_it_may_not_serve_stale_data(store: Path) -> None:
    with (
        running_redis("--replica-serve-stale-data", "no") as server,
        predictor_on(server, store, **QUICK) as client,
    ):
        assert ask(client).status_code == 200
        with server.client() as admin:
            admin.replicaof("127.0.0.1", "1")
            assert_unavailable(ask(client))
            admin.replicaof("NO", "ONE")
        wait_until("answers again", lambda: ask(client).status_code == 200, 10, every=0.01)


def test_password_that_is_refused_is_503_and_one_that_changes_back_heals(store: Path) -> None:
    with (
        running_redis("--requirepass", "right") as server,
        faulty_proxy(server.host, server.port) as proxy,
        predictor_on(proxy, store, redis_password="right", **QUICK) as client,
        server.client() as admin,
    ):
        assert ask(client).status_code == 200
        admin.execute_command("AUTH", "right")
        admin.config_set("requirepass", "other")
        proxy.drop_connections()
        for _ in range(8):
            response = ask(client)
            assert_unavailable(response)
            assert "right" not in response.text
        assert client.get("/health").status_code == 200
        admin.config_set("requirepass", "right")
        wait_until("answers again", lambda: ask(client).status_code == 200, 10, every=0.01)


def test_requests_beyond_the_limit_in_flight_are_refused_at_once(proxy: FaultyProxy, store: Path) -> None:
    with predictor_on(
        proxy, store, redis_deadline_seconds=5.0, deadline_seconds=5.0, max_in_flight=4, redis_ping_seconds=60
    ) as client:
        assert ask(client).status_code == 200
        proxy.delay = 1.0
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: ask(client), range(12)))
        refused = [answer for answer in answers if answer.status_code == 503]
        assert len(refused) == 8
        for answer in refused:
            assert_unavailable(answer, "overloaded")
        assert 'outcome="overloaded"} 8.0' in client.get("/metrics").text
        proxy.delay = 0.0
        assert ask(client).status_code == 200
