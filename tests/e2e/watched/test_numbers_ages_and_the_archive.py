"""Incidents of numbers, ages and the archive, after all others; REPRISE_INCIDENTS=all makes them.

- Numbers that are wrong: the store or the log was changed by hand, or one arm is asked for. They come before the
  incident that leaves a gap in the archive, because no store can be backfilled from it afterwards.
- What an alert calls old, with days made seconds: outcomes, models, secrets.
- The archive, which keeps what its incidents do, and slow burns.
"""

import json
import time
from datetime import UTC, datetime

import pytest

from e2e.support.cluster import CommandError, Platform
from e2e.support.customers import PAIRS, Customers, questions_about
from e2e.support.on_call import ONLY_WITH_ALL, Open
from e2e.support.two_arms import apply_rollout, await_both_arms, train_another
from e2e.support.watched_cluster import WatchedPlatform
from reprise.rollout.state_machine.routing_plan import parse_buckets
from reprise.routing import bucket_of
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("customers"), ONLY_WITH_ALL]

DAY, HOUR = 86_400, 3_600
SPOIL = """
from reprise.backfill.settings import BackfillSettings
from reprise.features.plan import Plan
from reprise.store.feast.codec import ViewCodec
from reprise.store.online_store import GuardedWrite, OnlineStore

settings = BackfillSettings.load()
[view] = [entity.view for entity in Plan.load(settings.plan).entities if entity.name == "user"]
codec = ViewCodec(settings.feast_project, view)
keys = [codec.key(f"u{number:06d}") for number in range(300)]

def spoilt(state):
    return [n + 5 if f.name.endswith("_count") and n is not None else n for f, n in zip(view.fields, state)]

with OnlineStore.connect(settings) as store:
    rows = store.read([(codec, key) for key in keys])
    written = store.write_guarded([
        GuardedWrite(codec, key, row.watermarks, spoilt(row.state), row.watermarks, row.event_timestamp_us)
        for key, row in zip(keys, rows) if row.exists
    ])
print(sum(written), "rows of users changed")
"""


def test_somebody_changes_states_in_the_online_store(
    watched_platform: WatchedPlatform, customers: Customers, on_call: Open
) -> None:
    platform = watched_platform.platform
    incident = on_call("Features do not match")

    def spoil() -> None:
        platform.start_job(
            "spoil", "backfill", lambda container: container.update(command=["python3", "-c", SPOIL], args=[])
        )
        platform.kubectl("wait", "--for=condition=Complete", "job/spoil", "--timeout=120s")
        assert int(platform.kubectl("logs", "job/spoil").split()[0]) > 200

    incident.happens("somebody adds five to every count in the rows of 300 users", spoil)
    customers.await_answers(301, 90)
    time.sleep(8)  # the archiver's window, and its grace
    with pytest.raises(CommandError, match="mismatches"):
        platform.run_job("outcomes", OUTCOMES_IN_FLIGHT="5s")
    incident.sees("RepriseFeatureMismatch", seconds=30)
    incident.asks("topk(3, reprise_outcomes_feature_mismatches)")
    incident.asks("reprise_outcomes_features_in_flight")
    incident.runs(
        "helm -n reprise upgrade reprise charts/reprise --reset-then-reuse-values --set backfill.events.archive=true"
        " --set 'backfill.args={--replace,--seek-group=materializer}'"
    )
    incident.runs("kubectl -n reprise scale deploy/reprise-materializer --replicas=0")
    incident.runs("kubectl -n reprise create job --from=cronjob/reprise-backfill backfill-again")
    incident.runs("kubectl -n reprise wait --for=condition=complete --timeout=1h job/backfill-again")
    incident.runs("kubectl -n reprise scale deploy/reprise-materializer --replicas=1")
    platform.kubectl("rollout", "status", "deployment/reprise-materializer", "--timeout=120s")
    customers.await_answers(601, 120)
    incident.looks("kubectl -n reprise logs job/backfill-again --tail=1")
    incident.note("the outcomes job looks at the predictions of the last 10 s")
    platform.run_job("outcomes", OUTCOMES_CHECK_WINDOW="10s")
    incident.sees_cleared("RepriseFeatureMismatch", seconds=30)


def test_somebody_writes_predictions_and_callers_ask_for_one_arm_only(
    watched_platform: WatchedPlatform, customers: Customers, on_call: Open
) -> None:
    platform = watched_platform.platform
    baseline, candidate = train_another(platform, TRAINER_SEED="9")
    shares = on_call("The arms have the wrong users")
    customers.asking = False
    _begin(platform, baseline, candidate, "first")
    customers.questions = questions_about(_those_of_the_candidate(platform, "first"))

    def ask_for_one_arm() -> None:
        customers.asking = True

    shares.happens("half of the users have a candidate, and only they are asked for", ask_for_one_arm)
    forging = on_call("Features do not match")
    forging.happens("somebody writes predictions into the log", lambda: _forge(platform))
    time.sleep(25)  # so that each of them was asked for, and its horizon and the archiver's window are over
    with pytest.raises(CommandError):
        platform.run_job("outcomes", OUTCOMES_CHECK_ROWS="0")
    shares.sees("RepriseSampleRatioMismatch", seconds=30)
    forging.sees("RepriseProbabilityMismatch", seconds=30)
    shares.asks("reprise_outcomes_sample_ratio_p_value")
    shares.asks('sum by (arm) (reprise_outcomes_users{horizon="full"})')
    forging.looks(
        "kubectl -n reprise logs -l app.kubernetes.io/component=outcomes --tail=12 | grep -E '^(users|scores) '"
    )
    shares.runs("kubectl -n reprise delete modelrollout incident")
    customers.questions = questions_about(PAIRS)
    _begin(platform, baseline, candidate, "second")
    began = datetime.now(UTC).isoformat()
    shares.note("mended: another salt, and everybody is asked for")
    forging.note("mended: the outcomes job looks at what was predicted since")
    time.sleep(60)
    platform.run_job("outcomes", OUTCOMES_CHECK_ROWS="0", OUTCOMES_SINCE=began)
    shares.sees_cleared("RepriseSampleRatioMismatch", seconds=30)
    forging.sees_cleared("RepriseProbabilityMismatch", seconds=30)
    platform.kubectl("delete", "modelrollout", "incident", "--timeout=30s")


def test_nobody_computed_outcomes_for_long(watched_platform: WatchedPlatform, on_call: Open) -> None:
    platform = watched_platform.platform
    # what other tests have spoilt, this job is not to look for
    platform.upgrade("--set=outcomes.settings.OUTCOMES_CHECK_ROWS=0")
    platform.run_job("outcomes")
    incident = on_call("A job failed")
    with watched_platform.other_rules(ages=36 * HOUR / 45):
        incident.note("nothing is made; 36 hours of this rule are 45 seconds")
        incident.sees("RepriseOutcomesMissed", seconds=120)
        incident.asks("time() - reprise_outcomes_computed_timestamp_seconds")
        incident.looks("kubectl -n reprise get cronjobs")
        incident.runs("kubectl -n reprise create job --from=cronjob/reprise-outcomes outcomes-now")
        incident.looks("kubectl -n reprise wait --for=condition=complete --timeout=10m job/outcomes-now")
        incident.sees_cleared("RepriseOutcomesMissed")


def test_the_model_knows_nothing_of_late(watched_platform: WatchedPlatform, on_call: Open) -> None:
    incident = on_call("The model is old")
    with watched_platform.other_rules(ages=14 * DAY / 240):
        incident.note("the trainer reads a history that nobody adds to; two weeks are four minutes here")
        incident.sees("RepriseModelOld", seconds=360)
        incident.asks("time() - max(reprise_predictor_model_data_timestamp_seconds > 0)")
        incident.looks("kubectl -n reprise get jobs -l app.kubernetes.io/component=trainer")
        incident.runs(
            "helm -n reprise upgrade reprise charts/reprise --reset-then-reuse-values --set trainer.events.archive=true"
        )
        incident.runs("kubectl -n reprise create job --from=cronjob/reprise-trainer train-newer")
        incident.looks("kubectl -n reprise wait --for=condition=complete --timeout=10m job/train-newer")
        incident.sees_cleared("RepriseModelOld")


def test_passwords_are_old(watched_platform: WatchedPlatform, customers: Customers, on_call: Open) -> None:
    platform = watched_platform.platform
    incident = on_call("A certificate or secret is old")
    with watched_platform.other_rules(ages=180 * DAY / 240):
        incident.note("nothing is made; half a year is four minutes here")
        incident.sees("RepriseSecretOld", seconds=360)
        incident.runs("kubectl -n reprise get secrets -l app.kubernetes.io/part-of=reprise")
        incident.runs("kubectl -n reprise delete secret reprise-redis")
        incident.runs(
            "helm -n reprise upgrade reprise charts/reprise --reset-then-reuse-values"
            " --set redis.generatePasswords=true"
        )
        incident.runs("kubectl -n reprise rollout restart statefulset/reprise-redis")
        incident.runs("kubectl -n reprise rollout status statefulset/reprise-redis --timeout=5m")
        incident.runs("kubectl -n reprise rollout restart deployment -l app.kubernetes.io/part-of=reprise")
        incident.sees_cleared("RepriseSecretOld")
    for name in ("predictor", "producer", "materializer", "archiver"):
        platform.kubectl("rollout", "status", f"deployment/reprise-{name}", "--timeout=180s")
    customers.await_answers(51, 60)
    customers.await_sent(51, 60)
    wait_until("events are folded again", lambda: not watched_platform.firing("RepriseNothingFolded"), 90)


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


def _begin(platform: Platform, baseline: str, candidate: str, salt: str) -> None:
    apply_rollout(platform, "incident", baseline, candidate, salt=salt)
    await_both_arms(platform)


def _those_of_the_candidate(platform: Platform, salt: str) -> list[tuple[str, str]]:
    [candidate] = platform.get("modelrollout", "incident")["status"]["candidates"]
    ranges = parse_buckets(candidate["buckets"])
    return [
        (user, product)
        for user, product in PAIRS
        if any(first <= bucket_of(salt, user) < end for first, end in ranges)
    ]


def _forge(platform: Platform) -> None:
    """Write the next predictions again, with another probability."""
    reading = (
        "kafka-console-consumer --bootstrap-server kafka:9092 --topic ecommerce-predictions"
        " --max-messages 60 --timeout-ms 15000"
    )
    lines = platform.kubectl("exec", "kafka-0", "--", "sh", "-c", f"{reading} 2>/dev/null").splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(records) == 60
    forged = "".join(
        f"{each['user_id']}\t{json.dumps({**each, 'probability': 1 - each['probability']})}\n"
        for each in records
    )
    writing = (
        "kafka-console-producer --bootstrap-server kafka:9092 --topic ecommerce-predictions"
        " --property parse.key=true --property key.separator='\t'"
    )
    platform.kubectl("exec", "-i", "kafka-0", "--", "sh", "-c", writing, stdin=forged)


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
