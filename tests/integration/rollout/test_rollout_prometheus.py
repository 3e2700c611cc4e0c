"""What the operator asks Prometheus, of a real one that scrapes a predictor."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from redis import Redis

from reprise.rollout.clients.prometheus import MeasurementQuery, PrometheusProvider
from reprise.rollout.exceptions import MetricsError
from reprise.rollout.state_machine.observed_state import Measurement
from reprise.routing import RoutingDocument, Share, allocate, document_key
from support.pretend_predictor import ERRING, PretendPredictor
from support.prometheus import needs_prometheus, running_prometheus
from support.redis import RedisServer, free_port
from support.rollout_world import BASE, NEW, OTHER

pytestmark = needs_prometheus


@pytest.fixture(scope="module")
def prometheus(
    session_redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusProvider]:
    session_redis_server.flush()
    redis = Redis(host=session_redis_server.host, port=session_redis_server.port)
    document = RoutingDocument(
        generation=1, rollout="a/b", salt="s", arms=allocate(BASE, [Share("forest", NEW, 2500)], {})
    )
    redis.set(document_key("test"), document.to_bytes())
    predictor = PretendPredictor(redis, "test", {NEW: ERRING}, rate=300)
    predictor.start()
    try:
        with running_prometheus(tmp_path_factory.mktemp("prometheus"), [predictor.port]) as url:
            yield PrometheusProvider(url, timeout=5.0)
    finally:
        predictor.stop()
        redis.close()


def measured(prometheus: PrometheusProvider, candidate: str = NEW) -> Measurement:
    return prometheus.measure(
        MeasurementQuery(
            ("forest", candidate), ("baseline", BASE), timedelta(seconds=30), timedelta(seconds=30)
        )
    )


def test_arms_are_measured(prometheus):
    give_up = time.monotonic() + 120
    while (found := measured(prometheus)).candidate.requests < 200:
        assert time.monotonic() < give_up, found
        time.sleep(0.5)
    assert found.candidate.failed / found.candidate.requests == pytest.approx(1 / 3, abs=0.1)
    assert found.baseline.failed == 0
    assert 0 < found.candidate.p99 < 0.01
    assert sum(found.baseline.scores) == pytest.approx(found.baseline.answered, rel=0.05)
    assert len(found.candidate.scores) == 20
    assert found.users / (found.users + found.other_users) == pytest.approx(0.25, abs=0.08)
    assert found.counters == 1


def test_an_arm_that_nobody_knows_has_done_nothing(prometheus):
    found = measured(prometheus, candidate=OTHER)
    assert (found.candidate.requests, found.candidate.p99, found.candidate.scores) == (0, None, ())


def test_a_prometheus_that_refuses_is_named_with_its_reason(prometheus):
    refusing = PrometheusProvider(str(prometheus._client.base_url), 5.0, matchers="no matcher")
    with pytest.raises(MetricsError, match=r"refuses .* parse error"):
        measured(refusing)


def test_a_prometheus_that_is_away_is_named():
    with pytest.raises(MetricsError, match=r"http://127\.0\.0\.1"):
        measured(PrometheusProvider(f"http://127.0.0.1:{free_port()}", 1.0))
