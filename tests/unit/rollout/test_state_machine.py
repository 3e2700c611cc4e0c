"""What must hold of decisions whatever is seen, in whatever order."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.rollout.clients.predictors import Pod
from reprise.rollout.exceptions import InvalidTransitionError
from reprise.rollout.resource.spec import RolloutSpec
from reprise.rollout.resource.status import CandidateStatus, RolloutStatus
from reprise.rollout.state_machine.candidate import TRANSITIONS, Case
from reprise.rollout.state_machine.decision import Decision, decide
from reprise.rollout.state_machine.observed_state import Measurement, ObservedState
from reprise.routing import RoutingDocument
from support.rollout_world import (
    BASE,
    ERRING,
    GARBAGE,
    GOOD,
    NEW,
    NOTHING,
    OTHER,
    ROLLOUT,
    SLOW,
    START,
    FakePredictors,
    FakeStore,
    evidence,
    spec,
)

MEASUREMENTS = {
    **{
        name: replace(measured, users=10_000.0, other_users=10_000.0)
        for name, measured in (("good", GOOD), ("erring", ERRING), ("slow", SLOW), ("garbage", GARBAGE))
    },
    "nothing": NOTHING,
    "away": None,
}
TWO = [
    {"name": "forest", "digest": NEW, "trafficPercent": 50},
    {"name": "boost", "digest": OTHER, "trafficPercent": 33.33},
]
METRICS = [
    {"type": "ErrorRate", "max": 0.01},
    {"type": "LatencyP99", "max": 0.1},
    {"type": "ScoreDistance", "max": 0.25},
]
ANALYSIS = {"interval": "15s", "window": "30s", "metrics": METRICS}

moments = st.fixed_dictionaries(
    {
        "seconds": st.integers(0, 90),
        "measured": st.dictionaries(
            st.sampled_from(["forest", "boost"]), st.sampled_from(sorted(MEASUREMENTS))
        ),
        "verdict": st.sampled_from([None, "better", "not_worse", "worse", "undecided"]),
        "asked": st.sampled_from([{}, {}, {"promote": "forest"}, {"rollback": "boost"}, {"retry": "forest"}]),
        "deaf": st.booleans(),
        "corrupt": st.sampled_from([(), (), (), (OTHER,)]),
        "suspend": st.booleans(),
    }
)


class Story:
    """A rollout to which things happen."""

    def __init__(self, asked: RolloutSpec) -> None:
        self.spec = asked
        self.now = START
        self.status = RolloutStatus()
        self.store = FakeStore()
        self.predictors = FakePredictors(self.store)

    def happen(self, moment: dict) -> tuple[RolloutStatus, Decision, ObservedState]:
        self.now += timedelta(seconds=moment.get("seconds", 1))
        self.predictors.deaf = {"one"} if moment.get("deaf") else set()
        self.predictors.corrupt = set(moment.get("corrupt", ()))
        suspended = {"suspend": moment.get("suspend", False)}
        self.spec = self.spec.model_copy(update=suspended)
        seen = self.observe(moment)
        before = self.status
        decision = decide(self.spec, before, seen, self.now)
        self.status = RolloutStatus.parse(decision.status.as_json())
        assert self.status == decision.status
        if decision.document is not None:
            self.store.publish_document(decision.document)
        return before, decision, seen

    def observe(self, moment: dict) -> ObservedState:
        verdict = moment.get("verdict")
        measured: dict[str, Measurement | None] = {
            name: MEASUREMENTS[kind] for name, kind in moment.get("measured", {}).items()
        }
        return ObservedState(
            rollout=ROLLOUT,
            annotations={f"reprise.dev/{name}": value for name, value in moment.get("asked", {}).items()},
            published=self.store.newest,
            pods=self.predictors.get_reports([Pod("one", None), Pod("two", None)]),
            measurements=measured,
            evidence=None if verdict is None else evidence(verdict, self.now),
        )


def weights(document: RoutingDocument | None) -> dict[tuple[str, str], int]:
    arms = document.arms if document is not None else ()
    return {(arm.name, arm.digest): arm.weight for arm in arms}


def shares_are_whole_and_rise_by_one_step(story: Story, before: RolloutStatus, decision: Decision) -> None:
    # Validation has seen that buckets are disjoint and whole.
    assert sum(arm.weight for arm in decision.document.arms) == 10_000
    for candidate in story.spec.candidates:
        ladder = [0, *(stage.weight for stage in story.spec.steps_of(candidate))]
        was = before.candidate(candidate.name, candidate.digest)
        now = decision.status.candidate(candidate.name, candidate.digest)
        risen = ladder.index(now.weight) - ladder.index(was.weight if was else 0)
        assert risen <= 1
        assert risen >= 0 or now.phase in {"RolledBack", "Promoted"}


def candidates_follow_the_transition_table(before: RolloutStatus, decision: Decision, asked: dict) -> None:
    for was in before.candidates:
        now = decision.status.candidate(was.name, was.digest)
        assert now.phase == was.phase or now.phase in TRANSITIONS[was.phase]
        # One that was rolled back stays so until a person says otherwise.
        if was.phase == "RolledBack" and asked.get("retry") != was.name:
            assert (now.phase, now.weight) == ("RolledBack", 0)
            assert (was.name, was.digest) not in weights(decision.document)


def only_what_every_predictor_has_loaded_gets_users(
    before: RolloutStatus, decision: Decision, seen: ObservedState
) -> None:
    for arm in decision.document.arms:
        was = before.candidate(arm.name, arm.digest)
        if arm.name != "baseline" and arm.weight and not (was and was.weight):
            assert seen.all_loaded(arm.digest)
            assert seen.all_acknowledge(before.routing.fingerprint)
    if decision.status.baseline.digest != BASE:
        assert before.baseline.digest != BASE or seen.all_loaded(decision.status.baseline.digest)


@given(
    st.lists(moments, min_size=5, max_size=40),
    st.sampled_from(["Manual", "Better", "NotWorse"]),
    st.booleans(),
)
def test_invariants_hold_whatever_happens(happenings, rule, approval):
    promotion = {"rule": rule, "requireApproval": approval}
    story = Story(spec(candidates=TWO, analysis=ANALYSIS, promotion=promotion))
    contents: dict[int, RoutingDocument] = {}
    latest = 0
    for moment in happenings:
        before, decision, seen = story.happen(moment)
        shares_are_whole_and_rise_by_one_step(story, before, decision)
        candidates_follow_the_transition_table(before, decision, moment["asked"])
        only_what_every_predictor_has_loaded_gets_users(before, decision, seen)
        if approval:
            assert "Rule" not in {entry.by for entry in decision.status.history}
        # Numbers of documents rise, and each means one content.
        assert decision.document.generation >= latest
        latest = decision.document.generation
        assert contents.setdefault(latest, decision.document) == decision.document


@given(st.lists(moments, min_size=5, max_size=40), st.booleans())
def test_a_decision_is_final_until_something_is_seen(happenings, approval):
    promotion = {"rule": "Better", "requireApproval": approval}
    story = Story(spec(candidates=TWO, analysis=ANALYSIS, promotion=promotion))
    for moment in happenings:
        story.happen(moment)
        # once what was published is acknowledged, looks without news settle after at most one more of them
        quiet = {key: moment[key] for key in ("deaf", "corrupt", "suspend", "verdict")} | {"seconds": 0}
        for _ in range(4):
            story.happen(quiet)
        before, decision, _ = story.happen(quiet)
        assert decision.status == before
        assert decision.events == ()


@given(st.lists(moments, min_size=5, max_size=40), st.sampled_from(["nothing", "away"]))
def test_without_data_nobody_goes_beyond_the_first_step_or_back(happenings, silence):
    story = Story(spec(candidates=TWO, analysis=ANALYSIS, promotion={"rule": "NotWorse"}))
    for moment in happenings:
        silent = dict.fromkeys(moment["measured"], silence)
        verdict = None if moment["verdict"] == "worse" else moment["verdict"]
        quiet = moment | {"measured": silent, "asked": {}, "corrupt": (), "verdict": verdict}
        _, decision, _ = story.happen(quiet)
        assert {candidate.phase for candidate in decision.status.candidates} <= {"Loading", "Progressing"}
        assert all(candidate.weight <= 100 for candidate in decision.status.candidates)
        assert decision.status.last_promoted_digest is None


@given(st.lists(moments, min_size=0, max_size=20), st.sampled_from(["erring", "slow", "garbage"]))
def test_a_breach_wins_over_a_promotion_by_rule_and_by_person(happenings, bad):
    story = Story(spec(analysis=ANALYSIS, promotion={"rule": "NotWorse"}))
    for moment in happenings:
        harmless = moment | {"measured": {"forest": "good"}, "asked": {}, "corrupt": (), "verdict": None}
        story.happen(harmless)
    story.happen({"deaf": False})
    story.happen({"measured": {"forest": "good"}})
    for _ in range(2):
        last = {"measured": {"forest": bad}, "verdict": "undecided"}
        before, decision, _ = story.happen(last)
    if before.candidates[0].phase not in {"Progressing", "Measuring"}:
        return
    asking = {"measured": {"forest": bad}, "verdict": "better", "asked": {"promote": "forest"}}
    _, decision, _ = story.happen(asking)
    assert decision.status.candidates[0].phase == "RolledBack"
    assert decision.status.baseline.digest == BASE


@given(st.lists(moments, min_size=5, max_size=40), st.sampled_from(["Manual", "NotWorse"]))
def test_one_observation_advances_a_status_once(happenings, rule):
    story = Story(spec(candidates=TWO, analysis=ANALYSIS, promotion={"rule": rule}))
    for moment in happenings:
        _, decision, seen = story.happen(moment)
        # No measurement is due twice at one moment.
        again = decide(story.spec, decision.status, replace(seen, measurements={}), story.now)
        for candidate in decision.status.candidates:
            repeated = again.status.candidate(candidate.name, candidate.digest)
            # A reason to stop counts at any time, of a candidate that was new as well.
            if repeated.phase != "RolledBack":
                unchanged = {"phase", "step", "step_time", "weight"}
                assert repeated.model_dump(include=unchanged) == candidate.model_dump(include=unchanged)
        assert again.status.baseline == decision.status.baseline


def test_transition_that_is_not_in_the_table_is_refused():
    asked = spec()
    promoted = CandidateStatus(name="forest", digest=NEW, phase="Promoted")
    case = Case(
        asked.candidates[0], promoted, asked, ObservedState(ROLLOUT), {}, BASE,
        acknowledged=True, may_promote=True, now=START,
    )  # fmt: skip
    with pytest.raises(InvalidTransitionError, match="from Promoted to Loading"):
        case.move("Loading", "Retried", "restarts")
