"""What an alert calls old, with days made seconds: outcomes, models, secrets. REPRISE_INCIDENTS=all."""

import pytest

from e2e.support.customers import Customers
from e2e.support.on_call import ONLY_WITH_ALL, Open
from e2e.support.watched_cluster import WatchedPlatform
from support.waiting import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.usefixtures("customers"),
    ONLY_WITH_ALL,
]

DAY, HOUR = 86_400, 3_600


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
