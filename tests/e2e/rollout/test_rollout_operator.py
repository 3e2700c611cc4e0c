"""Whole rollouts on a real API server, Redis and Prometheus; the predictors are pretended."""

import json
import time
from datetime import UTC, datetime

import pytest

from e2e.support.cluster import CommandError
from support.chart import render
from support.collection import SOAK
from support.pretend_predictor import CORRUPT, ERRING, GARBAGE, SLOW
from support.rollout_world import BASE, NEW, evidence
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

KEY = "reprise-rollout-e2e/repurchase"
KILLS = 50 if SOAK else 5


def candidate(name, digest, percent):
    return {"name": name, "digest": digest, "trafficPercent": percent}


def steps(*percents):
    return {"steps": [{"trafficPercent": percent} for percent in percents]}


def test_new_shares_are_served_by_all_predictors_within_five_seconds(stage):
    stage.apply()
    began = time.monotonic()
    stage.wait_for_weight(1000, 5.0)
    print(f"from kubectl apply to all predictors serving: {time.monotonic() - began:.2f} s")


def test_a_good_candidate_walks_its_steps_and_outcomes_promote_it(stage):
    stage.apply(promotion={"rule": "Better"})
    for weight in (1000, 3000, 5000):
        stage.wait_for_weight(weight, 40)
    stage.wait_for_phase("Measuring", 10)
    said = evidence("better", datetime.now(UTC), candidate=stage.new, baseline=stage.base)
    stage.say(said.model_copy(update={"rollout": KEY}))
    stage.wait_for_phase("Promoted", 40)
    status = stage.status
    assert status["lastPromotedDigest"] == stage.new
    assert [(entry["event"], entry["by"]) for entry in status["history"]] == [("Promoted", "Rule")]
    assert [(arm.name, arm.digest, arm.weight) for arm in stage.document.arms] == [
        ("baseline", stage.new, 10_000)
    ]
    reasons = [reason for reason, _ in stage.events()]
    assert reasons == ["Loading", "StepStarted", "StepStarted", "StepStarted", "Promoted"]


def test_a_person_promotes_by_annotation(stage):
    stage.apply()
    stage.wait_for_weight(1000, 10)
    stage.annotate(promote="forest")
    stage.wait_for_phase("Promoted", 10)
    assert stage.status["history"][0]["by"] == "Annotation"
    wait_until(
        "the annotation is removed", lambda: "promote" not in stage.kubectl("get", "mr", "-o", "yaml"), 5
    )
    stage.annotate(rollback="baseline")
    wait_until("the baseline is back", lambda: stage.status["baseline"]["digest"] == stage.base, 10)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (ERRING, "ErrorRateBreached"),
        (SLOW, "LatencyP99Breached"),
        (GARBAGE, "ScoreDistanceBreached"),
        (CORRUPT, "BundleRefused"),
    ],
)
def test_a_bad_candidate_is_rolled_back(stage, behaviour, reason):
    stage.behaviours[stage.new] = behaviour
    stage.apply()
    began = time.monotonic()
    found = stage.wait_for_phase("RolledBack", 60)
    print(
        f"{behaviour}: rolled back {time.monotonic() - began:.1f} s after kubectl apply: {found['message']}"
    )
    assert found["reason"] == reason
    wait_until("nobody has it", lambda: stage.document.arms[1:] == (), 5)
    assert ("RolledBack", f"candidate forest: {found['message']}") in stage.events()
    assert stage.status["history"][0]["event"] == "RolledBack"


def test_an_operator_killed_again_and_again_brings_the_rollout_to_the_same_end(stage):
    began = time.monotonic()
    analysis = {
        "interval": "2s",
        "window": "10s",
        "minSamples": 20,
        "metrics": [{"type": "ErrorRate", "max": 0.05}],
    }
    steps = [{"trafficPercent": percent, "hold": "3s"} for percent in (5, 10, 20, 30)]
    stage.apply(steps=steps, analysis=analysis)
    for number in range(KILLS):
        time.sleep(0.23 * (number % 7))
        stage.kill_operator()
        document = stage.document
        assert document is None or sum(arm.weight for arm in document.arms) == 10_000
        stage.start_operator()
    stage.wait_for_phase("Measuring", 120)
    stage.wait_for_weight(5000, 5)
    for predictor in stage.predictors:
        generations = [generation for at, generation in predictor.generations if at > began]
        assert generations == sorted(set(generations)), "a predictor saw an older document again"
    steps = [message for reason, message in stage.events() if reason == "StepStarted"]
    assert len(steps) == len(set(steps)), "a step was started twice"


def test_deleting_the_rollout_releases_the_predictors_and_nothing_hangs(stage):
    stage.apply()
    stage.wait_for_weight(1000, 10)
    assert "finalizers" not in stage.kubectl("get", "mr", "repurchase", "-o", "yaml")
    stage.kill_operator()
    stage.kubectl("delete", "mr", "repurchase", "--timeout=5s")
    assert not stage.document.released
    stage.start_operator()
    wait_until("the predictors are released", lambda: stage.document.released, 20)


def test_a_dry_run_writes_nothing(stage):
    stage.stop_operator()
    stage.start_operator("--dry-run")
    stage.apply()
    wait_until("it has decided", lambda: "dry_run=True" in stage.log.read_text(), 20)
    assert stage.status == {}
    assert stage.document is None
    assert stage.events() == []
    stage.stop_operator()


def test_the_operator_ends_when_it_is_asked_to(stage):
    stage.apply()
    stage.wait_for_weight(1000, 10)
    assert stage.stop_operator() == 0


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"baseline": {"digest": "latest"}}, "spec.baseline.digest"),
        (
            {"candidates": [candidate("a", NEW, 60), candidate("b", BASE, 41)]},
            "the candidates' trafficPercent add up to more than 100",
        ),
        (steps(20, 10), "each step's trafficPercent is above the one"),
        (steps(20, 20), "each step's trafficPercent is above the one"),
        (steps(0), "spec.steps[0].trafficPercent"),
        ({"steps": [{"trafficPercent": 5, "hold": "soon"}]}, "spec.steps[0].hold"),
        ({"candidates": [{"name": "baseline", "digest": NEW}]}, "baseline is the baseline's name"),
        ({"candidates": [{"name": "a", "digest": NEW}, {"name": "a", "digest": BASE}]}, "Duplicate value"),
        ({"candidates": [{"name": "a", "digest": NEW, "sahdow": True}]}, "unknown field"),
        ({"analysis": {"metrics": [{"type": "ErrorRate"}]}}, "max or maxRatio is required"),
        (
            {"analysis": {"metrics": [{"type": "ScoreDistance", "max": 1, "maxRatio": 2}]}},
            "maxRatio is for ErrorRate",
        ),
    ],
)
def test_the_api_server_refuses_and_says_why(stage, spec, said):
    with pytest.raises(CommandError) as refused:
        stage.apply(**spec)
    assert said in str(refused.value)


def test_kubectl_explains_and_lists(stage):
    explained = stage.kubectl("explain", "modelrollout.spec.candidates.trafficPercent")
    assert "Share of the users" in explained
    stage.apply()
    stage.wait_for_weight(1000, 10)
    wait_until("the columns are filled", lambda: "2/2" in stage.kubectl("get", "mr"), 5)
    listed = stage.kubectl("get", "mr")
    print(listed)
    for shown in ("PHASE", "WEIGHTS", "Progressing", "baseline 90%, forest 10%", "1/3", "True"):
        assert shown in listed


def test_who_proposes_models_cannot_promote_one(stage):
    namespace = stage.namespace
    release = render(
        f"--namespace={namespace}",
        "--set=rollout.enabled=true,rollout.admissionPolicy.enabled=true,trainer.rollout.name=repurchase",
    )
    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    policy = [each.raw for kind in kinds for each in release.of_kind(kind)]
    rights = [release.find(kind, "reprise-trainer").raw for kind in ("Role", "RoleBinding")]
    trainer = f"--as=system:serviceaccount:{namespace}:reprise-trainer"

    def as_trainer(*arguments):
        try:
            return stage.kubectl(*arguments, trainer, "--dry-run=server")
        except CommandError as refused:
            return str(refused)

    def patch(**spec):
        return as_trainer("patch", "mr", "repurchase", "--type=merge", "--patch", json.dumps({"spec": spec}))

    stage.apply()
    stage.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": policy + rights})
    )
    try:
        wait_until(
            "the policy is in force",
            lambda: (
                'need the verb "promote"'
                in as_trainer("annotate", "mr", "repurchase", "reprise.dev/promote=forest")
            ),
            30,
        )
        assert "changes beyond spec.candidates" in patch(promotion={"rule": "NotWorse"})
        assert "patched" in patch(candidates=[{"name": "forest", "digest": NEW, "trafficPercent": 50}])
        stage.wait_for_weight(1000, 10)
        stage.annotate(promote="forest")
        stage.wait_for_phase("Promoted", 10)
    finally:
        for each in policy:
            stage.kubectl("delete", each["kind"], each["metadata"]["name"])
