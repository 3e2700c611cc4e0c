"""A rollout as the operator sees it, look after look, in a world that obeys."""

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reprise.bundle import BundleNotFoundError, BundleStore, Manifest
from reprise.bundle.signature import SigningKey, TrustedKeys
from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.services.bundle_loader import BundleLoader
from reprise.predictor.services.configured_model import ConfiguredModel
from reprise.rollout.exceptions import ClusterError
from reprise.rollout.metrics import RolloutMetrics
from reprise.rollout.reconciler import OperatorContext, Reconciler
from reprise.rollout.resource.status import RolloutStatus
from reprise.rollout.state_machine.observed_state import Measurement
from reprise.store.exceptions import StoreUnavailableError
from support.key_files import key_files
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
    FakeKubernetes,
    FakeMetrics,
    FakePredictors,
    FakeStore,
    evidence,
    spec,
    with_users,
)
from support.served_bundles import bundle_files


@dataclass
class Play:
    """Time goes by, and the operator looks every second."""

    dry_run: bool = False
    now: datetime = START
    kubernetes: FakeKubernetes = field(default_factory=FakeKubernetes)
    store: FakeStore = field(default_factory=FakeStore)
    provider: FakeMetrics = field(default_factory=lambda: FakeMetrics(GOOD))
    models: BundleStore | None = None

    def __post_init__(self) -> None:
        self.predictors = FakePredictors(self.store)
        self.restart()

    def restart(self) -> None:
        self.metrics = RolloutMetrics(CollectorRegistry())
        world = OperatorContext(
            self.kubernetes,
            self.store,
            self.predictors.get_reports,
            self.provider.measure,
            lambda: self.now,
            self.models,
            dry_run=self.dry_run,
        )
        self.reconciler = Reconciler(world, self.metrics)

    def apply(self, seconds: int = 0, rollout: str = ROLLOUT, **parts) -> None:
        content = spec(**parts).model_dump(mode="json", by_alias=True, exclude_none=True)
        self.kubernetes.apply(rollout, content)
        self.run(seconds)

    def annotate(self, seconds: int = 2, **annotations: str) -> None:
        self.kubernetes.annotate(ROLLOUT, **annotations)
        self.run(seconds)

    def look(self) -> list[bool]:
        """One pass over all rollouts; returns which are settled."""
        rollouts = self.reconciler.rollouts()
        self.reconciler.release_deleted(rollouts)
        return [self.reconciler.reconcile(rollout) for rollout in rollouts]

    def run(self, seconds: int, *measured: Measurement | None) -> None:
        """Look every second; ``measured`` is what Prometheus answers from now on."""
        if measured:
            (self.provider.default,) = measured
        for _ in range(seconds):
            self.spread()
            self.look()
            self.now += timedelta(seconds=1)

    def spread(self) -> None:
        """Let as many users be in the arm as should be."""
        measured = self.provider.default
        if measured is not None and measured is not NOTHING and self.status.candidates:
            self.provider.default = with_users(measured, self.status.candidates[0].weight)

    @property
    def status(self) -> RolloutStatus:
        return RolloutStatus.parse(self.kubernetes.resources[ROLLOUT]["status"])

    @property
    def forest(self):
        return self.status.candidates[0]

    def weights(self) -> dict[str, int]:
        return {arm.name: arm.weight for arm in self.store.newest.arms}

    def reasons(self) -> list[str]:
        return [event.reason for event in self.kubernetes.events]


@pytest.fixture
def play() -> Play:
    return Play()


def test_a_good_candidate_walks_its_steps_and_waits(play):
    play.apply()
    seen = []
    for _ in range(150):
        play.run(1)
        if not seen or seen[-1] != play.weights():
            seen.append(play.weights())
    assert [weights["forest"] for weights in seen] == [0, 100, 1000, 5000]
    assert all(sum(weights.values()) == 10_000 for weights in seen)
    assert play.forest.phase == "Measuring"
    assert play.status.phase == "Measuring"
    assert play.reasons() == ["Loading", "StepStarted", "StepStarted", "StepStarted"]
    assert play.status.weights == "baseline 50%, forest 50%"
    assert play.status.step == "3/3"


def test_a_candidate_has_users_two_looks_after_it_is_applied(play):
    play.apply()
    play.look()
    assert play.weights() == {"baseline": 10_000, "forest": 0}
    play.look()
    assert play.weights() == {"baseline": 9_900, "forest": 100}
    play.look()
    assert {condition.type: condition.status for condition in play.status.conditions} == {
        "Ready": "True", "Progressing": "True", "Healthy": "True",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(ERRING, "ErrorRateBreached"), (SLOW, "LatencyP99Breached"), (GARBAGE, "ScoreDistanceBreached")],
)
def test_a_bad_candidate_is_rolled_back_within_a_minute(play, bad, reason):
    play.apply(150)
    assert play.weights()["forest"] > 0
    play.provider.default = bad
    began = play.now
    while play.forest.phase != "RolledBack":
        play.run(1)
        assert play.now - began < timedelta(seconds=60)
    assert play.weights() == {"baseline": 10_000}
    assert play.forest.reason == reason
    assert "2 analyses in a row" in play.forest.message
    assert play.kubernetes.events[-1].type == "Warning"
    assert (play.status.history[0].event, play.status.history[0].by) == ("RolledBack", "Analysis")
    labels = {"rollout": ROLLOUT, "candidate": "forest", "event": "RolledBack", "by": "Analysis"}
    assert play.metrics.registry.get_sample_value("reprise_rollout_decisions_total", labels) == 1
    play.run(90, GOOD)
    assert play.weights() == {"baseline": 10_000}


def test_users_that_are_missing_from_an_arm_roll_it_back(play):
    play.apply(130)
    for _ in range(100):
        play.provider.default = with_users(GOOD, play.forest.weight, off=0.8)
        play.look()
        play.now += timedelta(seconds=1)
    assert play.forest.reason == "SampleRatioBreached"


def test_a_bundle_that_one_predictor_cannot_load_never_gets_users(play):
    play.predictors.corrupt.add(NEW)
    play.apply(30)
    assert all(
        arm.weight == 0 for document in play.store.written for arm in document.arms if arm.digest == NEW
    )
    assert play.forest.reason == "BundleRefused"
    assert "sha256 differs" in play.forest.message


def test_a_model_store_that_is_away_for_a_moment_rolls_nobody_back(play):
    play.apply(70)
    for _ in range(2):
        play.predictors.corrupt.add(NEW)
        play.run(10)
        play.predictors.corrupt.clear()
        play.run(10)
    assert play.forest.phase != "RolledBack"


def test_a_bundle_that_is_still_loading_gets_no_users(play):
    play.predictors.loading.add(NEW)
    play.apply(150)
    assert play.weights()["forest"] == 0
    assert play.forest.phase == "Loading"
    play.predictors.loading.clear()
    play.run(2)
    assert play.weights()["forest"] == 100


@pytest.mark.parametrize("silence", [None, NOTHING])
def test_without_data_a_candidate_neither_goes_on_nor_back(play, silence):
    play.apply(80)
    weight = play.forest.weight
    play.run(160, silence)
    assert (play.forest.weight, play.forest.phase) == (weight, "Progressing")
    assert {metric.verdict for metric in play.forest.analysis.metrics} == {"NoData"}
    play.run(60, GOOD)
    assert play.forest.weight > weight


@pytest.mark.parametrize(
    ("analyses", "breach"),
    [((ERRING, NOTHING, ERRING), True), ((ERRING, GOOD) * 5, False)],
    ids=["failures with a gap of data between them", "single failures among good ones"],
)
def test_failures_add_up_over_gaps_of_data_but_not_over_good_analyses(play, analyses, breach):
    play.apply(70)
    for measured in analyses:
        play.run(16, measured)
    assert (play.forest.phase == "RolledBack") is breach


def test_a_predictor_that_does_not_apply_the_shares_holds_the_step(play):
    play.apply(10)
    play.predictors.deaf.add("predictor-1")
    play.run(200)
    assert play.forest.weight == 1000
    ready = next(condition for condition in play.status.conditions if condition.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "Unacknowledged")
    assert play.status.acknowledged == "1/2"


def test_suspension_holds_the_steps_and_still_rolls_back(play):
    play.apply(10)
    play.apply(200, suspend=True)
    assert (play.forest.weight, play.status.phase) == (100, "Suspended")
    play.run(60, ERRING)
    assert play.forest.phase == "RolledBack"


def test_a_shadow_scores_and_never_has_users(play):
    play.apply(150, candidates=[{"name": "forest", "digest": NEW, "shadow": True}])
    assert play.forest.phase == "Shadowing"
    assert play.weights() == {"baseline": 10_000, "forest": 0}
    assert play.store.newest.arms[1].shadow
    play.run(60, SLOW)
    assert play.forest.phase == "RolledBack"


def test_better_outcomes_promote_by_rule_once_the_steps_are_walked(play):
    play.apply(promotion={"rule": "Better"})
    play.store.said = evidence("better", play.now)
    play.run(160)
    assert play.status.last_promoted_digest is None
    play.run(60)
    assert play.status.last_promoted_digest == NEW
    assert (play.status.history[0].event, play.status.history[0].by) == ("Promoted", "Rule")
    assert [(arm.name, arm.digest) for arm in play.store.newest.arms] == [("baseline", NEW)]
    assert play.status.phase == "Promoted"


@pytest.mark.parametrize(
    ("promotion", "outcomes"),
    [
        ({"rule": "Better"}, lambda now: evidence("not_worse", now)),
        ({"rule": "Better", "requireApproval": True}, lambda now: evidence("not_worse", now)),
        ({"rule": "NotWorse"}, lambda now: evidence("undecided", now)),
        ({"rule": "Better"}, lambda now: evidence("better", now - timedelta(hours=27))),
        ({"rule": "Better"}, lambda now: evidence("better", now, candidate=OTHER)),
        ({"rule": "Better"}, lambda now: evidence("better", now, baseline=OTHER)),
        ({"rule": "Manual"}, lambda now: evidence("better", now)),
    ],
    ids=[
        "not better",
        "not to be approved",
        "undecided",
        "old",
        "another candidate",
        "another baseline",
        "manual",
    ],
)
def test_other_outcomes_promote_nobody(play, promotion, outcomes):
    play.apply(160, promotion=promotion)
    play.store.said = outcomes(play.now)
    play.run(60)
    assert play.status.last_promoted_digest is None
    assert (play.forest.phase, play.forest.reason, play.forest.weight) == ("Measuring", "Measuring", 5000)
    if promotion["rule"] == "Manual":
        assert play.forest.evidence.verdict == "better"


def test_a_rule_that_needs_approval_recommends_once_and_a_person_promotes(play):
    play.apply(160, promotion={"rule": "Better", "requireApproval": True})
    play.store.said = evidence("better", play.now)
    play.run(120)
    assert play.status.last_promoted_digest is None
    assert (play.forest.phase, play.forest.reason) == ("Measuring", "AwaitingApproval")
    assert "reprise.dev/promote=forest" in play.status.message
    assert [event.reason for event in play.kubernetes.events].count("AwaitingApproval") == 1
    play.annotate(promote="forest")
    assert play.status.last_promoted_digest == NEW
    assert play.status.history[0].by == "Annotation"


@pytest.mark.parametrize(
    "promotion", [{}, {"rule": "Better", "requireApproval": True}], ids=["automatic", "by approval"]
)
def test_worse_outcomes_roll_back(play, promotion):
    play.apply(70, promotion=promotion)
    play.store.said = evidence("worse", play.now)
    play.run(2)
    assert (play.forest.phase, play.forest.reason) == ("RolledBack", "OutcomesWorse")


def test_a_person_promotes_by_annotation_and_the_annotation_goes(play):
    play.apply(70)
    play.annotate(promote="forest")
    assert play.status.last_promoted_digest == NEW
    assert play.status.history[0].by == "Annotation"
    assert play.kubernetes.resources[ROLLOUT]["annotations"] == {}
    play.run(2)
    assert play.status.handled_requests == ()


def test_a_person_rolls_back_and_lets_it_try_again(play):
    play.apply(70)
    play.annotate(rollback="forest")
    assert (play.forest.phase, play.weights()) == ("RolledBack", {"baseline": 10_000})
    play.annotate(promote="forest")
    assert play.reasons()[-1] == "RequestRefused"
    play.annotate(3, retry="forest")
    assert (play.forest.phase, play.forest.weight) == ("Progressing", 100)


def test_a_person_brings_the_baseline_before_back(play):
    play.apply(10)
    play.annotate(5, promote="forest")
    play.annotate(5, rollback="baseline")
    assert play.status.baseline.digest == BASE
    assert play.status.history[0].event == "BaselineRestored"
    assert play.forest.phase == "RolledBack"
    assert play.kubernetes.resources[ROLLOUT]["annotations"] == {}


@pytest.mark.parametrize(
    ("seconds", "request_", "message"),
    [
        (70, {"retry": "forest"}, "reprise.dev/retry=forest: it is Progressing"),
        (
            10,
            {"rollback": "forest"},
            "reprise.dev/rollback=forest: it is Promoted; annotate reprise.dev/rollback=baseline instead",
        ),
    ],
    ids=["a retry of an active candidate", "a rollback of the baseline"],
)
def test_a_request_that_changes_nothing_is_refused_aloud(play, seconds, request_, message):
    play.apply(seconds)
    if "rollback" in request_:
        play.annotate(5, promote="forest")
    play.annotate(**request_)
    refused = [event.message for event in play.kubernetes.events if event.reason == "RequestRefused"]
    assert refused == [message]


def test_a_promotion_that_was_asked_for_another_bundle_is_refused(play):
    play.apply(70)
    play.predictors.loading = {NEW}
    play.annotate(promote="forest")
    play.predictors.loading = set()
    play.apply(30, candidates=[{"name": "forest", "digest": OTHER, "trafficPercent": 50}])
    assert play.status.baseline.digest == BASE
    assert "RequestRefused" in play.reasons()


def test_a_larger_share_leads_on_from_the_last_step_of_the_smaller(play):
    play.apply(140, candidates=[{"name": "forest", "digest": NEW, "trafficPercent": 10}])
    assert (play.forest.phase, play.forest.weight) == ("Measuring", 1000)
    play.apply(2)
    assert (play.forest.phase, play.forest.weight) == ("Progressing", 1000)
    play.run(80)
    assert (play.forest.phase, play.forest.weight) == ("Measuring", 5000)


def test_a_baseline_that_cannot_be_loaded_gives_way_to_the_one_before(play):
    play.apply(70)
    play.predictors.corrupt = {OTHER}
    play.apply(3, baseline={"digest": OTHER})
    assert play.status.baseline.digest == BASE
    assert [entry.event for entry in play.status.history] == ["BaselineRestored", "BaselineChanged"]
    play.annotate(rollback="forest")
    assert play.predictors.applied["predictor-0"].arms[0].digest == BASE
    assert [arm.weight for arm in play.predictors.applied["predictor-0"].arms] == [10_000]


def test_a_predictor_that_is_silent_for_a_moment_does_not_restart_the_count_of_users(play):
    play.apply(30)
    since = play.status.routing.acknowledged_time
    silent = play.predictors._report
    play.predictors._report = lambda _: None
    play.run(2)
    assert play.status.pods.acknowledged == 0
    play.predictors._report = silent
    play.run(2)
    assert play.status.routing.acknowledged_time == since


def test_a_request_for_nobody_is_refused_aloud(play):
    play.apply(2)
    play.annotate(promote="nobody")
    assert "no candidate of this name" in play.kubernetes.events[-1].message
    assert play.kubernetes.resources[ROLLOUT]["annotations"] == {}


def test_a_request_is_acted_on_once_though_its_annotation_stays(play):
    play.apply(10)
    play.annotate(5, promote="forest")
    play.kubernetes.fail_writes = ["annotations"]
    play.kubernetes.annotate(ROLLOUT, rollback="baseline")
    for _ in range(5):
        with pytest.raises(ClusterError):
            play.look()
    assert play.status.baseline.digest == BASE
    play.kubernetes.fail_writes = []
    play.run(5)
    assert play.status.baseline.digest == BASE


def test_a_repository_of_manifests_may_stay_as_it_is_after_a_promotion_or_follow_it(play):
    play.apply(10)
    play.annotate(5, promote="forest")
    generation = play.store.newest.generation
    play.apply(5)
    assert play.status.baseline.digest == NEW
    play.apply(5, baseline={"digest": NEW}, candidates=[])
    assert (play.status.baseline.digest, play.store.newest.generation) == (NEW, generation)
    play.apply(5, baseline={"digest": OTHER}, candidates=[])
    assert (play.status.baseline.digest, play.status.history[0].event) == (OTHER, "BaselineChanged")


@pytest.mark.parametrize(
    ("digest", "percent", "phase", "weight"),
    [(OTHER, 50, "Loading", 0), (NEW, 20, "Measuring", 2000)],
    ids=["another digest starts anew", "another share counts at once"],
)
def test_a_changed_candidate(play, digest, percent, phase, weight):
    play.apply(160)
    play.apply(candidates=[{"name": "forest", "digest": digest, "trafficPercent": percent}])
    play.look()
    assert (play.forest.phase, play.forest.weight) == (phase, weight)


def test_another_salt_waits_until_no_candidate_has_users(play):
    play.apply(10)
    assert play.store.newest.salt == "repurchase"
    play.apply(10, assignment={"salt": "spring"})
    assert play.store.newest.salt == "repurchase"
    play.annotate(3, rollback="forest")
    assert play.store.newest.salt == "spring"


def test_a_lost_document_is_published_again_once_the_store_is_back(play):
    play.apply(70)
    before = play.store.newest
    play.store.newest = None
    play.store.away = True
    with pytest.raises(StoreUnavailableError):
        play.look()
    play.store.away = False
    play.look()
    assert play.store.newest == before


def test_a_restart_at_any_moment_changes_nothing(play):
    steady, restarted = Play(), Play()
    for each in (steady, restarted):
        each.apply()
    for _ in range(130):
        steady.run(1)
        restarted.restart()
        restarted.run(1)
        assert restarted.status == steady.status
        assert restarted.store.newest == steady.store.newest


@pytest.mark.parametrize("write", ["status", "annotations", "event"])
def test_what_could_not_be_written_is_written_later_and_comes_to_the_same(write):
    steady, troubled = Play(), Play()
    for each in (steady, troubled):
        each.apply(10)
    troubled.kubernetes.fail_writes = [write]
    for each in (steady, troubled):
        each.kubernetes.annotate(ROLLOUT, promote="forest")
    for _ in range(3):
        try:
            troubled.look()
        except ClusterError:
            continue
    troubled.kubernetes.fail_writes = []
    for each in (steady, troubled):
        each.run(5)
    assert troubled.status.last_promoted_digest == steady.status.last_promoted_digest == NEW
    assert troubled.store.newest == steady.store.newest
    assert len(troubled.status.history) == 1


def test_deleting_a_rollout_releases_the_predictors_and_numbers_keep_rising(play):
    play.apply(10)
    generation = play.store.newest.generation
    del play.kubernetes.resources[ROLLOUT]
    for _ in range(2):
        play.look()
        assert play.store.newest.released
        assert play.store.newest.generation == generation + 1
    play.apply(3)
    assert play.store.newest.generation > generation + 1


def test_document_is_newer_than_what_predictors_have_applied_where_none_is_published(play):
    play.apply(10)
    applied = play.store.newest
    play.predictors.deaf = {pod.name for pod in play.kubernetes.pods()}
    del play.kubernetes.resources[ROLLOUT]
    play.store.newest = None
    play.apply()
    play.look()
    assert play.store.newest.generation == applied.generation + 1
    play.predictors.deaf.clear()
    play.run(10)
    assert play.forest.weight > 0


class CountedStore(BundleStore):
    verified = 0

    def verify(self, digest: str) -> Manifest:
        self.verified += 1
        return super().verify(digest)


def with_models(models: BundleStore, base: str, new: str) -> Play:
    play = Play(models=models)
    play.apply(
        10, baseline={"digest": base}, candidates=[{"name": "forest", "digest": new, "trafficPercent": 50}]
    )
    return play


async def test_a_new_cluster_serves_the_promoted_model(tmp_path: Path) -> None:
    models = BundleStore(str(tmp_path))
    base, new = (models.publish(bundle_files(bias=bias)) for bias in (0.0, 1.0))
    models.set_latest(base)
    play = with_models(models, base, new)
    assert models.latest() == base
    play.annotate(promote="forest")
    assert models.latest() == new
    # The resource, the routing document and every process are lost; the bucket is left.
    rebuilt = ConfiguredModel(
        BundleLoader(BundleStore(str(tmp_path)), "reprise"), "latest", PredictorMetrics(CollectorRegistry())
    )
    await rebuilt.refresh()
    assert rebuilt.current.digest == new
    models.set_latest(base)  # By somebody else, to whom it is left until the operator starts again
    play.run(2)
    assert models.latest() == base
    play.restart()
    play.run(2)
    assert models.latest() == new
    play.annotate(rollback="baseline")
    assert models.latest() == base


def test_a_model_store_that_is_away_gets_the_promoted_model_later(tmp_path: Path) -> None:
    models = BundleStore(str(tmp_path))
    base, new = (models.publish(bundle_files(bias=bias)) for bias in (0.0, 1.0))
    play = with_models(models, base, new)
    folder = Path(models.location(new, ".")).resolve()
    folder.rename(tmp_path / "away")
    play.kubernetes.annotate(ROLLOUT, promote="forest")
    with pytest.raises(BundleNotFoundError):
        play.run(2)
    assert play.store.newest.arms[0].digest == new, "users are served meanwhile"
    (tmp_path / "away").rename(folder)
    play.run(1)
    assert models.latest() == new


def test_a_bundle_that_no_trusted_key_signed_never_gets_users(tmp_path: Path) -> None:
    keys = key_files(tmp_path, "trainer")
    url, key = str(tmp_path / "models"), SigningKey(keys.private)
    models = CountedStore(url, trusted=TrustedKeys(keys.public))
    base = BundleStore(url, signing_key=key).publish(bundle_files())
    new = BundleStore(url).publish(bundle_files(bias=1.0))
    play = with_models(models, base, new)
    assert play.weights() == {"baseline": 10_000, "forest": 0}
    assert "not signed by any key" in play.forest.message
    play.annotate(10, promote="forest")
    assert (play.forest.phase, play.forest.weight) == ("RolledBack", 0)
    verified = models.verified
    BundleStore(url, signing_key=key).sign(new)
    play.run(5)
    assert models.verified == verified, "nothing is fetched for a candidate that was rolled back"
    play.annotate(5, retry="forest")
    assert play.forest.weight > 0
    assert models.verified == verified + 1


def test_a_second_rollout_waits_for_the_first(play):
    play.apply(10)
    play.apply(rollout="shop/second", baseline={"digest": OTHER})
    play.look()
    assert play.kubernetes.resources["shop/second"]["status"]["phase"] == "Blocked"
    assert play.store.newest.rollout == ROLLOUT
    del play.kubernetes.resources[ROLLOUT]
    play.look()
    assert play.store.newest.rollout == "shop/second"


@pytest.mark.parametrize("lost", [False, True])
def test_a_second_rollout_waits_also_while_the_document_is_unsigned_or_lost(play, lost):
    play.store.signing = play.store.trusted = "operator"
    first, second = "shop/second", ROLLOUT
    play.apply(rollout=first, baseline={"digest": OTHER})
    play.look()
    play.apply()
    play.kubernetes.resources = {key: play.kubernetes.resources[key] for key in (second, first)}
    play.look()
    published = play.store.newest
    play.store.signed = ""
    if lost:
        play.store.newest = None
    play.look()
    assert play.kubernetes.resources[second]["status"]["phase"] == "Blocked"
    assert play.store.newest.rollout == first
    assert play.store.newest.generation >= published.generation
    assert play.store.document() == play.store.newest, "it is signed again"
    play.store.signed = ""
    del play.kubernetes.resources[first]
    play.look()
    assert play.store.document().rollout == second


def test_rollouts_that_have_both_routed_do_not_block_each_other_for_a_lost_document(play):
    play.apply()
    play.look()
    play.kubernetes.resources["shop/second"] = deepcopy(play.kubernetes.resources[ROLLOUT])
    play.store.newest = None
    play.look()
    assert play.store.newest.rollout == ROLLOUT
    assert play.kubernetes.resources["shop/second"]["status"]["phase"] == "Blocked"


def test_an_unchanged_document_is_signed_again_by_a_new_key(play):
    play.apply(10)
    before = list(play.store.written)
    play.store.signing = "new"
    play.look()
    assert (play.store.signed, play.store.written) == ("new", [*before, before[-1]])
    play.look()
    assert len(play.store.written) == len(before) + 1


def test_a_spec_that_cannot_be_read_holds_what_is_served(play):
    play.apply(70)
    before = play.store.newest
    play.kubernetes.resources[ROLLOUT]["spec"]["steps"] = [{"trafficPercent": 50}, {"trafficPercent": 10}]
    assert play.look() == [True]
    assert play.store.newest == before
    assert play.status.phase == "Invalid"
    assert "spec.: steps" in play.status.message or "steps" in play.status.message


def test_a_dry_run_decides_and_writes_nothing():
    play = Play(dry_run=True)
    play.apply()
    play.look()
    assert play.kubernetes.resources[ROLLOUT]["status"] is None
    assert play.store.newest is None
    assert play.kubernetes.events == []


def test_gauges_tell_of_the_arms_and_are_forgotten_with_the_rollout(play):
    play.apply(3)
    labels = {"rollout": ROLLOUT, "arm": "forest", "digest": NEW}
    assert play.metrics.registry.get_sample_value("reprise_rollout_arm_weight", labels) == 0.01
    del play.kubernetes.resources[ROLLOUT]
    play.look()
    assert play.metrics.registry.get_sample_value("reprise_rollout_arm_weight", labels) is None
