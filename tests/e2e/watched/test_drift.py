"""Scores and inputs that move away from those of training, and come back. REPRISE_INCIDENTS=all."""

import json
import os
import time
from collections.abc import Callable

import pytest
from support.cluster import Platform, wait_until
from support.customers import PAIRS, Customers, questions_about
from support.on_call import OnCall
from support.watched_cluster import WatchedPlatform

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        os.environ.get("REPRISE_INCIDENTS") != "all", reason="made only with REPRISE_INCIDENTS=all"
    ),
]
Open = Callable[[str], OnCall]

LATELY = {"OUTCOMES_CHECK_ROWS": "0", "OUTCOMES_DRIFT_WINDOW": "20s", "OUTCOMES_DRIFT_MIN_PREDICTIONS": "200"}

EVALUATED = """
import duckdb, json
rows = duckdb.sql(
    "SELECT user_id, product_id, event_type, amount FROM read_parquet('/var/lib/reprise/history/*.parquet')"
    " ORDER BY timestamp DESC LIMIT 2000"
).fetchall()
print(json.dumps([dict(zip(("user_id", "product_id", "event_type", "amount"), map(str, row))) for row in rows]))
"""


def test_a_client_sends_amounts_in_cents(
    watched_platform: WatchedPlatform, customers: Customers, on_call: Open
) -> None:
    platform = watched_platform.platform
    incident = on_call("Scores or features drift")
    # a day of the rules is 24 seconds, so yesterday's index is that of the run before
    with watched_platform.other_rules(factor=3_600):
        platform.run_job("outcomes", 240, **LATELY)
        time.sleep(26)

        def ask_with_amounts() -> None:
            customers.questions = [{**each, "amount": 99_900.0} for each in questions_about(PAIRS)]

        incident.happens(
            "a client asks with amounts, which are in cents; a day is 24 s here", ask_with_amounts
        )
        time.sleep(35)
        platform.run_job("outcomes", 240, **LATELY)
        incident.sees("RepriseFeaturesDrift", 30)
        incident.asks("topk(3, reprise:feature_psi:delta1d)")
        customers.questions = questions_about(PAIRS)
        incident.note("mended: the client asks as before")
        time.sleep(35)
        platform.run_job("outcomes", 240, **LATELY)
        incident.sees_cleared("RepriseFeaturesDrift", 60)


def test_callers_ask_about_others_than_the_model_was_evaluated_on(
    watched_platform: WatchedPlatform, customers: Customers, on_call: Open
) -> None:
    platform = watched_platform.platform
    incident = on_call("Scores or features drift")
    incident.note("nothing is made: the test's customers ask about one product each, bought or not")
    incident.sees("RepriseScoresDrift", 240)
    incident.asks("reprise_predictor_score_psi")
    customers.questions = _evaluated_on(platform)
    incident.note(
        "mended: callers ask about what users look at and buy; predictors are started again, and forget"
    )
    platform.kubectl("rollout", "restart", "deployment/reprise-predictor")
    platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=120s")
    answered = customers.statuses["200"]
    wait_until("enough was asked", lambda: customers.statuses["200"] > answered + 1_500, 240)
    assert watched_platform.prometheus.query("reprise_predictor_score_psi")
    incident.asks("reprise_predictor_score_psi")
    incident.sees_cleared("RepriseScoresDrift", 60)


def _evaluated_on(platform: Platform) -> list[dict[str, object]]:
    """Return questions like the rows of training: each is an event of the history."""
    platform.start_job(
        "asked", "trainer", lambda container: container.update(command=["python3", "-c", EVALUATED], args=[])
    )
    platform.kubectl("wait", "--for=condition=Complete", "job/asked", "--timeout=120s")
    found = json.loads(platform.kubectl("logs", "job/asked").splitlines()[-1])
    return [{**each, "amount": None if each["amount"] == "None" else float(each["amount"])} for each in found]
