"""A job's metrics outlive its pod in a Pushgateway."""

import pytest
from prometheus_client import Gauge
from structlog.testing import capture_logs

from reprise.runtime.job_metrics import JobSettings, reported_job
from support.pushgateway import gateway


def settings(url: str | None) -> JobSettings:
    return JobSettings.load(pushgateway_url=url)


def test_installations_have_groups_of_their_own_in_one_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHGATEWAY_GROUPING", '{"namespace": "shop"}')
    with gateway() as (url, pushed):
        monkeypatch.setenv("PUSHGATEWAY_URL", url)
        with reported_job("reprise-trainer", JobSettings.load()):
            pass
    assert [path for _, path, _ in pushed] == ["/metrics/job/reprise-trainer/namespace/shop"]


def test_success_replaces_what_was_pushed_before_by_the_jobs_own_figures() -> None:
    with gateway() as (url, pushed), reported_job("reprise-trainer", settings(url)) as job:
        Gauge("rows", "Rows.", registry=job.registry).set(3)
    ((method, path, body),) = pushed
    assert (method, path) == ("PUT", "/metrics/job/reprise-trainer")
    assert "reprise_job_failed 0.0" in body
    assert "reprise_job_last_success_timestamp_seconds" in body
    assert "rows 3.0" in body


def test_failure_is_pushed_and_leaves_the_last_success_as_it_was() -> None:
    with (
        gateway() as (url, pushed),
        pytest.raises(OSError, match="disk"),
        reported_job("reprise-trainer", settings(url)),
    ):
        raise OSError("disk")
    ((method, _, body),) = pushed
    assert method == "POST"
    assert "reprise_job_failed 1.0" in body
    assert "reprise_job_last_success_timestamp_seconds" not in body


def test_gateway_that_is_away_is_logged_and_fails_no_job() -> None:
    with capture_logs() as logs, reported_job("reprise-trainer", settings("http://127.0.0.1:9")):
        pass
    assert [entry["event"] for entry in logs] == ["metrics_not_pushed"]


def test_nothing_is_pushed_without_a_gateway() -> None:
    with capture_logs() as logs, reported_job("reprise-trainer", settings(None)) as job:
        pass
    assert job.registry.get_sample_value("reprise_job_failed") == 0
    assert logs == []
