"""Traces of a predictor that is a process of its own, taken by a collector that is another."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.predictor import published
from support.redis import RedisServer, free_port
from support.served_bundles import bundle_files
from support.serving import Serving, serving
from support.traces import NOT_SAMPLED, PARENT_ID, SAMPLED, TRACE_ID, collector
from support.waiting import wait_until

pytestmark = pytest.mark.redis

ASK = {"user_id": "u-secret", "product_id": "p-secret"}
STAGES = ["validate", "read", "finish", "infer", "encode"]
SHOW_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has Python write a line to standard error for each module that it imports."""


@contextmanager
def predicting(redis: RedisServer, folder: Path, collector_url: str | None, **more: str) -> Iterator[Serving]:
    """Run a predictor, with traces if there is a collector, and have it end well."""
    published(folder / "models", bundle_files())
    variables = {
        "REDIS_HOST": redis.host,
        "REDIS_PORT": str(redis.port),
        "MODEL_STORE": str(folder / "models"),
        "PREDICTOR_REHEARSAL_SECONDS": "0",
    }
    if collector_url is not None:
        variables |= {"REPRISE_TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": collector_url}
    with serving(folder, **variables, **more) as predictor:
        predictor.wait_until_ready()
        yield predictor
        assert predictor.terminate() == 0


def ask(predictor: Serving, traceparent: str, path: str = "/predict", body: object = None) -> None:
    answer = predictor.http.post(path, json=body or ASK, headers={"traceparent": traceparent})
    assert answer.status_code == 200, answer.text
    assert answer.headers["traceparent"] == traceparent


def spans_counted(predictor: Serving, outcome: str) -> float:
    head = f'reprise_trace_spans_total{{outcome="{outcome}"}} '
    [line] = [line for line in predictor.http.get("/metrics").text.splitlines() if line.startswith(head)]
    return float(line.removeprefix(head))


def test_one_prediction_is_one_trace_with_its_stages(redis_server: RedisServer, tmp_path: Path) -> None:
    more = {
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with collector() as taken, predicting(redis_server, tmp_path, taken.url, **more) as predictor:
        before = time.time_ns()
        ask(predictor, NOT_SAMPLED)
        ask(predictor, SAMPLED)
        received = taken.wait_for(6)
        after = time.time_ns()
    assert len(taken.wait_for(6)) == 6
    spans = {each.span.name: each for each in received}
    assert sorted(spans) == sorted(["POST /predict", *STAGES])
    whole = spans["POST /predict"]
    assert {each.span.trace_id.hex() for each in received} == {TRACE_ID}
    assert whole.span.parent_span_id.hex() == PARENT_ID
    assert (whole.resource["service.name"], whole.resource["deployment.environment.name"]) == (
        "reprise-predictor",
        "test",
    )
    times = []
    for stage in STAGES:
        span = spans[stage].span
        assert span.parent_span_id == whole.span.span_id
        times += [span.start_time_unix_nano, span.end_time_unix_nano]
    assert times == sorted(times)
    assert before <= whole.span.start_time_unix_nano <= times[0]
    assert times[-1] <= whole.span.end_time_unix_nano <= after
    assert b"secret" not in b"".join(each.span.SerializeToString() for each in received)
    assert f'"trace_id":"{TRACE_ID}","parent_id":"{PARENT_ID}"' in predictor.log.read_text()


def test_queued_spans_are_exported_at_shutdown(redis_server: RedisServer, tmp_path: Path) -> None:
    with collector() as taken:
        with predicting(redis_server, tmp_path, taken.url, OTEL_BSP_SCHEDULE_DELAY="3600000") as predictor:
            ask(predictor, SAMPLED)
        assert len(taken.wait_for(6, seconds=0)) == 6


def test_unavailable_collector_changes_no_response_and_lost_spans_are_counted(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    more = {
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    away = f"http://127.0.0.1:{free_port()}"
    with predicting(redis_server, tmp_path, away, **more) as predictor:
        for _ in range(20):
            ask(predictor, SAMPLED)
        ask(predictor, SAMPLED, "/predict/batch", {"requests": [ASK, ASK]})
        wait_until("spans have failed", lambda: spans_counted(predictor, "failed"), 120, every=0.05)
        dropped, failed = spans_counted(predictor, "dropped"), spans_counted(predictor, "failed")
        assert spans_counted(predictor, "exported") == 0
        # A batch that was refused, and a queue that is full; the others were dropped, and none is unaccounted for.
        assert dropped > 0
        assert 21 * 6 - 16 <= dropped + failed <= 21 * 6
        assert predictor.http.get("/ready").status_code == 200


def test_opentelemetry_sdk_is_not_imported_while_traces_are_off(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with predicting(redis_server, tmp_path, None, **SHOW_IMPORTS) as predictor:
        ask(predictor, SAMPLED)
        assert "reprise_trace_spans" not in predictor.http.get("/metrics").text
    lines = [line for line in predictor.log.read_text().splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "reprise.predictor.services.prediction" in imported
    # FastAPI itself imports the interface that the SDK implements.
    of_traces = ("opentelemetry.sdk", "opentelemetry.exporter", "reprise.http.tracing.spans")
    assert not [name for name in imported if name.startswith(of_traces)]
