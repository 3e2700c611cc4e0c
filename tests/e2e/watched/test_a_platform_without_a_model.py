"""The first incident there is: an installation that has no model, and a trainer that has not run for days."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from e2e.support.customers import Customers
from e2e.support.on_call import Open
from e2e.support.watched_cluster import WatchedPlatform
from support.waiting import wait_until

pytestmark = pytest.mark.e2e


def test_nobody_trained(watched_platform: WatchedPlatform, customers: Customers, on_call: Open) -> None:
    platform = watched_platform.platform
    platform.run_job("datagen")
    ended = (datetime.now(UTC) - timedelta(hours=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = f'{{"status": {{"lastSuccessfulTime": "{ended}"}}}}'
    patch = ("patch", "cronjob", "reprise-trainer", "--subresource=status", "--type=merge", "--patch", status)
    incident = on_call("The trainer did not run")
    with ThreadPoolExecutor(1) as meanwhile:
        filled = meanwhile.submit(platform.run_job, "backfill")
        incident.happens(
            "there is no model, and the CronJob says it last succeeded 40 h ago",
            lambda: platform.kubectl(*patch),
        )
        incident.sees("RepriseTrainerMissed", "RepriseServiceNotReady")
    assert "503" in incident.reads_ready("predictor", 8000)
    incident.looks("kubectl -n reprise get pods -l app.kubernetes.io/component=predictor")
    incident.looks("kubectl -n reprise get cronjobs")
    # Before there is a model: what is predicted from an empty store would be a mismatch for ever.
    assert "events: wrote" in filled.result()
    incident.runs("kubectl -n reprise create job --from=cronjob/reprise-trainer train-now")
    incident.runs("kubectl -n reprise wait --for=condition=complete --timeout=2h job/train-now")
    incident.sees_cleared("RepriseTrainerMissed", "RepriseServiceNotReady")
    with platform.client as client:
        wait_until("the Ingress leads to the predictor", lambda: client.get("/ready").status_code == 200, 60)
    customers.sending = True
