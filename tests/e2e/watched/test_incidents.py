"""Incidents that are made, one after the other: the alert fires, the runbook's commands mend it, the alert clears.

These are made in every run; those of test_more_incidents.py take longer.
"""

import pytest

from e2e.support.cluster import Platform
from e2e.support.customers import Customers
from e2e.support.on_call import LAG, ONLY_WITH_ALL, Open
from e2e.support.watched_cluster import WatchedPlatform
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("customers")]


def test_redis_is_gone(watched_platform: WatchedPlatform, customers: Customers, on_call: Open) -> None:
    incident = on_call("The online store is away")
    platform = watched_platform.platform
    alerts = ("RepriseOnlineStoreAway", "RepriseNobodyAnswers", "RepriseServiceNotReady")
    incident.happens("Redis is scaled to 0", lambda: platform.scale("statefulset/reprise-redis", 0))
    incident.sees(*alerts)
    assert "503" in incident.reads_ready("predictor", 8000)
    assert customers.statuses["503"]
    incident.asks('sum by (outcome) (rate(reprise_predictor_requests_total{outcome!="ok"}[15s]))')
    incident.asks(
        'sum by (dependency, kind) (rate(reprise_dependency_errors_total{dependency="online_store"}[15s])) > 0'
    )
    incident.runs("kubectl -n reprise get statefulset,pods -l app.kubernetes.io/component=redis")
    incident.runs("kubectl -n reprise scale statefulset/reprise-redis --replicas=1")
    incident.sees_cleared(*alerts)


def test_a_deadline_that_nobody_can_keep_is_rolled_out(
    watched_platform: WatchedPlatform, on_call: Open
) -> None:
    incident = on_call("Predictions fail")
    platform = watched_platform.platform

    def upgrade() -> None:
        platform.upgrade("--set-json=predictor.settings.PREDICTOR_DEADLINE_SECONDS=0.0001")
        platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=120s")

    incident.happens("an upgrade gives predictions a tenth of a millisecond", upgrade)
    incident.sees("ReprisePredictionErrorBudgetBurnsFast")
    incident.asks('sum by (outcome) (rate(reprise_predictor_requests_total{outcome!="ok"}[15s])) > 0')
    incident.runs("helm -n reprise history reprise")
    incident.runs("helm -n reprise rollback reprise")
    platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=120s")
    incident.sees_cleared("ReprisePredictionErrorBudgetBurnsFast", seconds=180)


def test_no_materializer_runs(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("Features are stale")
    platform = watched_platform.platform
    materializer = "deployment/reprise-materializer"
    incident.happens("the materializers are scaled to 0", lambda: platform.scale(materializer, 0))
    incident.sees("RepriseNothingFolded", "RepriseServiceMissing")
    incident.runs("kubectl -n reprise get deploy,pods -l app.kubernetes.io/component=materializer")
    assert _lag(incident.runs_with_kafka(LAG)) > 0
    incident.runs("kubectl -n reprise scale deploy/reprise-materializer --replicas=1")
    incident.sees_cleared("RepriseNothingFolded", "RepriseServiceMissing")
    incident.runs_with_kafka(LAG)


def test_broken_records_come(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("Dead letters")
    platform = watched_platform.platform
    producer = ("kafka-console-producer", "--bootstrap-server", "kafka:9092", "--topic", "ecommerce-events")
    records = '{"event_id": "by-hand", "user_id": "u"}\nnot even JSON\n'

    def write() -> None:
        platform.kubectl("exec", "-i", "kafka-0", "--", *producer, stdin=records)

    incident.happens("somebody writes what is no event into the topic", write)
    incident.sees("RepriseDeadLetters")
    shown = incident.runs_with_kafka(
        "kafka-console-consumer --bootstrap-server $KAFKA_SERVERS --topic ecommerce-events-dlq --from-beginning"
        " --max-messages 5 --timeout-ms 10000"
    )
    assert "reason" in shown
    incident.sees_cleared("RepriseDeadLetters")


def test_training_fails_and_a_bad_model_is_published(
    watched_platform: WatchedPlatform, on_call: Open
) -> None:
    platform = watched_platform.platform
    failing = on_call("A job failed")
    failing.happens(
        "training is asked for a horizon longer than all history",
        lambda: _train(platform, "train-far", "--horizon=4000d"),
    )
    refused = on_call("A model is refused")
    refused.happens(
        "a bundle whose files are not those of its digest becomes the latest",
        lambda: _publish_broken(platform),
    )
    failing.sees("RepriseJobFailed", seconds=150)
    failing.runs("kubectl -n reprise get jobs -l app.kubernetes.io/part-of=reprise")
    failing.looks("kubectl -n reprise wait --for=condition=failed --timeout=5m job/train-far")
    failing.looks("kubectl -n reprise logs job/train-far --tail=2")
    refused.sees("RepriseModelRefused")
    refused.reads_log("deployment/reprise-predictor", "model_refused")
    refused.runs("kubectl -n reprise create job --from=cronjob/reprise-trainer train-again")
    refused.looks("kubectl -n reprise wait --for=condition=complete --timeout=10m job/train-again")
    refused.sees_cleared("RepriseModelRefused")
    failing.sees_cleared("RepriseJobFailed")


@ONLY_WITH_ALL
def test_the_predictors_are_scaled_away(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("A service is not ready")
    platform = watched_platform.platform
    predictor = "deployment/reprise-predictor"
    incident.happens("the predictors are scaled to 0", lambda: platform.scale(predictor, 0))
    incident.sees("RepriseServiceMissing")
    incident.runs("kubectl -n reprise get deploy,pods -l app.kubernetes.io/component=predictor")
    incident.runs("kubectl -n reprise scale deploy/reprise-predictor --replicas=1")
    incident.sees_cleared("RepriseServiceMissing")
    platform.kubectl("rollout", "status", predictor, "--timeout=120s")


def test_kafka_crashes(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("The prediction log loses answers")
    platform = watched_platform.platform

    def crash() -> None:
        restarts = platform.restarts("kafka-0", "kafka")
        platform.kubectl("exec", "kafka-0", "--", "sh", "-c", "kill 1")
        wait_until("Kafka has ended", lambda: platform.restarts("kafka-0", "kafka") > restarts, 60)

    wait_until("answers are logged", lambda: _logs_answers(watched_platform), 60)
    incident.happens("the broker ends", crash)
    incident.sees("ReprisePredictionLogLoses")
    incident.looks("kubectl -n reprise get pods kafka-0")
    incident.reads_log("deployment/reprise-predictor", "prediction_log_")
    incident.asks("sum by (outcome) (increase(reprise_predictor_logged_total[30s]))")
    platform.kubectl("rollout", "status", "statefulset/kafka", "--timeout=180s")
    wait_until("answers are logged again", lambda: _logs_answers(watched_platform), 60)
    incident.sees_cleared("ReprisePredictionLogLoses")
    wait_until("events are folded again", lambda: not watched_platform.firing("RepriseNothingFolded"), 90)


@ONLY_WITH_ALL
def test_the_autoscaler_is_at_its_limit(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("Predictions are slow")
    platform = watched_platform.platform
    incident.happens(
        "the autoscaler may have one pod",
        lambda: platform.upgrade("--set=predictor.autoscaling.maxReplicas=1"),
    )
    incident.sees("ReprisePredictorsAtLimit")
    incident.runs("kubectl -n reprise get hpa")
    incident.runs(
        "helm -n reprise upgrade reprise charts/reprise --reset-then-reuse-values"
        " --set predictor.autoscaling.maxReplicas=6"
    )
    incident.sees_cleared("ReprisePredictorsAtLimit")


def _lag(described: str) -> int:
    rows = [line.split() for line in described.splitlines() if line.startswith("materializer")]
    return sum(int(row[5]) for row in rows if row[5].isdecimal())


def _logs_answers(watched_platform: WatchedPlatform) -> bool:
    written = 'sum(rate(reprise_predictor_logged_total{outcome="written"}[5s])) > 0'
    return bool(watched_platform.prometheus.query(written))


def _train(platform: Platform, job: str, *arguments: str) -> None:
    platform.start_job(
        job, "trainer", lambda container: container.update(args=[*container.get("args", []), *arguments])
    )


def _publish_broken(platform: Platform) -> None:
    program = """
import json, os, shutil
from urllib.parse import urlparse
from reprise.bundle import BundleStore
url = os.environ["TRAINER_OUT"]
root = urlparse(url).path
good = BundleStore(url).latest()
bad = "sha256:" + good[7:][::-1]
folder = lambda digest: f"{root}/bundles/{digest.replace(':', '-')}"
shutil.copytree(folder(good), folder(bad), dirs_exist_ok=True)
with open(f"{root}/latest.json.new", "w") as file:
    json.dump({"digest": bad}, file)
os.replace(f"{root}/latest.json.new", f"{root}/latest.json")
"""
    platform.start_job(
        "publish-broken",
        "trainer",
        lambda container: container.update(command=["python3", "-c", program], args=[]),
    )
    platform.kubectl("wait", "--for=condition=Complete", "job/publish-broken", "--timeout=120s")
