"""Scores and inputs that move away from those of training, and come back. REPRISE_INCIDENTS=all."""

import time
from datetime import UTC, datetime

import pytest

from e2e.support.customers import PAIRS, Customers, questions_about
from e2e.support.on_call import ONLY_WITH_ALL, Open
from e2e.support.watched_cluster import WatchedPlatform

pytestmark = [
    pytest.mark.e2e,
    ONLY_WITH_ALL,
]

LATELY = {
    "OUTCOMES_CHECK_ROWS": "0",
    "OUTCOMES_DRIFT_WINDOW": "20s",
    "OUTCOMES_DRIFT_MIN_PREDICTIONS": "200",
    "OUTCOMES_DRIFT_MIN_USERS": "50",
}


def test_a_client_sends_amounts_in_cents(
    watched_platform: WatchedPlatform, customers: Customers, on_call: Open
) -> None:
    platform = watched_platform.platform
    incident = on_call("Scores or features drift")
    # a day of the rules is 24 seconds, so yesterday's index is that of the run before
    lately = {**LATELY, "OUTCOMES_SINCE": datetime.now(UTC).isoformat()}
    with watched_platform.other_rules(factor=3_600):
        platform.run_job("outcomes", **lately)
        time.sleep(26)

        def ask_with_amounts() -> None:
            bought = {"event_type": "purchase", "amount": 99_900.0}
            customers.questions = [{**each, **bought} for each in questions_about(PAIRS)]

        incident.happens(
            "a client asks with amounts, which are in cents; a day is 24 s here", ask_with_amounts
        )
        time.sleep(35)
        platform.run_job("outcomes", **lately)
        incident.sees("RepriseFeaturesDrift", seconds=30)
        incident.asks("topk(3, reprise:feature_psi:delta1d)")
        customers.questions = questions_about(PAIRS)
        incident.note("mended: the client asks as before")
        time.sleep(35)
        platform.run_job("outcomes", **lately)
        incident.sees_cleared("RepriseFeaturesDrift", seconds=60)


def test_callers_ask_about_others_than_the_model_was_evaluated_on(
    watched_platform: WatchedPlatform, customers: Customers, on_call: Open
) -> None:
    platform = watched_platform.platform
    incident = on_call("Scores or features drift")
    incident.note("nothing is made: the test's customers ask about one product each, bought or not")
    incident.sees("RepriseScoresDrift", seconds=240)
    incident.asks("reprise_predictor_score_psi")
    customers.asking = False
    incident.note(
        "mended: nobody asks any more, and predictors are started again: they know no former scores"
    )
    platform.kubectl("rollout", "restart", "deployment/reprise-predictor")
    platform.kubectl("rollout", "status", "deployment/reprise-predictor", "--timeout=120s")
    incident.sees_cleared("RepriseScoresDrift", seconds=60)
    customers.asking = True
