"""The last incidents, also of REPRISE_INCIDENTS=all: of the archive, which keeps what they do, and slow burns."""

import json
import time

import pytest

from e2e.support.cluster import Platform
from e2e.support.on_call import ONLY_WITH_ALL, Open
from e2e.support.watched_cluster import WatchedPlatform
from support.waiting import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.usefixtures("customers"),
    ONLY_WITH_ALL,
]


def test_the_archiver_is_away_while_kafka_deletes(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("The archive loses records")
    platform = watched_platform.platform
    archiver = "deployment/reprise-archiver"
    incident.happens("the archiver is scaled to 0", lambda: platform.scale(archiver, 0))
    incident.sees("RepriseArchiverMissing")
    incident.runs("kubectl -n reprise get deploy,pods -l app.kubernetes.io/component=archiver")
    incident.runs_with_kafka(
        "kafka-consumer-groups --bootstrap-server $KAFKA_SERVERS --describe --group archiver-ecommerce-events"
    )
    incident.note("made: Kafka deletes what the archiver has not read, and the archiver is started")
    _delete_records(platform)
    platform.scale(archiver, 1)
    incident.sees("RepriseArchiveLosesRecords")
    incident.sees_cleared("RepriseArchiverMissing")
    incident.asks("sum by (topic) (reprise_archiver_missing_records)")
    assert "503" in incident.reads_ready("archiver", 8003)
    incident.reads_log(archiver, "records_deleted")
    incident.runs("kubectl -n reprise scale deploy/reprise-archiver --replicas=0")
    reset = (
        "kafka-consumer-groups --bootstrap-server $KAFKA_SERVERS --group archiver-ecommerce-events"
        " --topic ecommerce-events --reset-offsets --to-earliest --execute"
    )
    wait_until("the group has no member any more", lambda: _is_empty(platform), 60, every=2)
    incident.runs_with_kafka(reset)
    incident.runs("kubectl -n reprise scale deploy/reprise-archiver --replicas=1")
    platform.kubectl("rollout", "status", archiver, "--timeout=120s")
    incident.sees_cleared("RepriseArchiveLosesRecords", "RepriseArchiverMissing")
    # the archiver's window and its grace: a gap is one once there is something behind it
    time.sleep(10)
    said = incident.runs("kubectl -n reprise exec deploy/reprise-archiver -- reprise-archiver --accept-holes")
    assert "ecommerce-events: accepted partition" in said
    platform.run_job("outcomes", OUTCOMES_CHECK_ROWS="0")


def test_more_comes_than_the_archiver_can_write(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("The archive loses records")
    platform = watched_platform.platform
    write = (
        "yes '{}' | head -n 400000 | kafka-console-producer --bootstrap-server kafka:9092"
        " --topic ecommerce-predictions"
    )

    def make() -> None:
        platform.limit_cpu("archiver", "100m")
        platform.kubectl("exec", "kafka-0", "--", "sh", "-c", write)

    incident.happens("the archiver is left a tenth of a core, and 400,000 records come", make)
    incident.sees("RepriseArchiverBehind", seconds=180)
    incident.asks("sum by (topic) (max by (topic, partition) (reprise_archiver_lag_records))")
    incident.runs(
        "kubectl -n reprise get pods -l app.kubernetes.io/component=archiver -o custom-columns="
        "POD:.metadata.name,LIMITS:.spec.containers[*].resources.limits"
    )
    incident.runs("kubectl -n reprise rollout restart deploy/reprise-archiver")
    platform.kubectl("rollout", "status", "deployment/reprise-archiver", "--timeout=180s")
    incident.sees_cleared("RepriseArchiverBehind", seconds=240)


def test_slow_burns_are_seen_and_clear_when_a_quarter_of_the_day_was_good(
    watched_platform: WatchedPlatform, on_call: Open
) -> None:
    for name, section in (
        ("ReprisePredictionErrorBudgetBurnsSlowly", "Predictions fail"),
        ("ReprisePredictionLatencyBudgetBurnsSlowly", "Predictions are slow"),
    ):
        incident = on_call(section)
        incident.sees(name, seconds=120)
        incident.note("nothing is made any more; six hours of the rules are six minutes here")
        incident.sees_cleared(name, seconds=600)


def _is_empty(platform: Platform) -> bool:
    asked = ("kafka-consumer-groups", "--bootstrap-server", "kafka:9092", "--describe", "--state")
    return "Empty" in platform.kubectl(
        "exec", "kafka-0", "--", *asked, "--group", "archiver-ecommerce-events"
    )


def _delete_records(platform: Platform) -> None:
    partitions = [{"topic": "ecommerce-events", "partition": number, "offset": -1} for number in range(6)]
    file = json.dumps({"partitions": partitions, "version": 1})
    program = "kafka-delete-records --bootstrap-server kafka:9092 --offset-json-file /tmp/delete.json"
    script = f"echo '{file}' > /tmp/delete.json && {program}"
    platform.kubectl("exec", "kafka-0", "--", "sh", "-c", script)
