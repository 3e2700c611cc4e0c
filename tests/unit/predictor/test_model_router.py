import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from reprise.bundle import BundleStore, UnfinishedRehearsalError
from reprise.bundle.signature import SigningKey
from reprise.predictor.services.bundle_loader import LoadFailure
from reprise.routing import (
    BASELINE,
    DocumentKeys,
    RoutingDocument,
    RoutingReport,
    Share,
    allocate,
    assign,
    document_key,
)
from reprise.store.exceptions import StoreRefusedError, StoreUnavailableError
from support.key_files import key_files
from support.predictor import RunningPredictor, published, running_predictor
from support.served_bundles import HUGE, bundle_files, small_plan
from support.waiting import wait_until

pytestmark = pytest.mark.slow

USERS = [f"u-{number}" for number in range(200)]


@pytest.fixture
def predictor(tmp_path: Path) -> Iterator[RunningPredictor]:
    published(tmp_path, bundle_files())
    with running_predictor(tmp_path) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, predictor: RunningPredictor) -> BundleStore:
    return BundleStore(str(tmp_path))


@pytest.fixture
def baseline(predictor: RunningPredictor) -> str:
    return predictor.context.configured_model.current.digest


@pytest.fixture
def candidate(store: BundleStore) -> str:
    return store.publish(bundle_files(bias=2.0))


def routing(baseline: str, *shares: Share, generation: int = 1, salt: str = "s") -> RoutingDocument:
    return RoutingDocument(
        generation=generation, rollout="reprise/test", salt=salt, arms=allocate(baseline, shares, {})
    )


def released(generation: int) -> RoutingDocument:
    return RoutingDocument(generation=generation, rollout="reprise/test", salt="", arms=())


def ask(predictor: RunningPredictor, user_id: str, **fields: Any) -> dict[str, Any]:
    response = predictor.client.post("/predict", json={"user_id": user_id, "product_id": "p", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def ask_all(predictor: RunningPredictor, **fields: Any) -> list[dict[str, Any]]:
    requests = [{"user_id": user, "product_id": "p", **fields} for user in USERS]
    response = predictor.client.post("/predict/batch", json={"requests": requests})
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def report(predictor: RunningPredictor) -> RoutingReport:
    return RoutingReport.from_bytes(predictor.client.get("/routing").content)


def answered(predictor: RunningPredictor, arm: str, digest: str, outcome: str = "answered") -> float:
    return predictor.metric("reprise_predictor_arm_answers_total", arm=arm, digest=digest, outcome=outcome)


def test_users_are_answered_by_their_arm_singly_and_in_batches(
    predictor: RunningPredictor, baseline: str, candidate: str
) -> None:
    document = routing(baseline, Share("deeper", candidate, 4000))
    predictor.route(document)
    index_of = assign(document)
    expected = {
        user: (document.arms[index_of(user)].name, document.arms[index_of(user)].digest) for user in USERS
    }
    assert set(expected.values()) == {("baseline", baseline), ("deeper", candidate)}
    before = predictor.reader.round_trips
    answers = ask_all(predictor)
    assert predictor.reader.round_trips == before + 2, "one read for each arm"
    for user, answer in zip(USERS, answers, strict=True):
        assert (answer["arm"], answer["model_version"]) == expected[user]
        assert answer["user_id"] == user
        assert answer["probability"] == pytest.approx(
            0.5 if answer["arm"] == "baseline" else 0.8808, abs=1e-4
        )
    for user in USERS[:20]:
        assert (ask(predictor, user)["arm"], ask(predictor, user)["model_version"]) == expected[user]


def test_assigning_a_user_costs_little_beside_a_prediction(
    predictor: RunningPredictor, baseline: str, candidate: str
) -> None:
    predictor.route(routing(baseline, Share("deeper", candidate, 5000)))
    table = predictor.context.router.table
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        for user in USERS:
            table.arm_of(user)
        taken.append((time.perf_counter() - start) / len(USERS))
    # It takes about 1 µs of the 100 that a prediction takes; the limit leaves room for a busy machine.
    assert min(taken) < 10e-6


def test_applied_document_is_reported_with_its_fingerprint(
    predictor: RunningPredictor, baseline: str, candidate: str
) -> None:
    document = routing(baseline, Share("deeper", candidate, 100), generation=7)
    predictor.route(document)
    said = report(predictor)
    assert (said.generation, said.fingerprint, said.rollout) == (7, document.fingerprint, "reprise/test")
    assert [(arm.name, arm.digest, arm.weight, arm.state) for arm in said.arms] == [
        ("baseline", baseline, 9900, "loaded"),
        ("deeper", candidate, 100, "loaded"),
    ]
    assert predictor.metric("reprise_predictor_routing_generation") == 7
    arm = {"arm": "deeper", "digest": candidate}
    assert predictor.metric("reprise_predictor_arm_weight", **arm) == 100
    assert predictor.metric("reprise_predictor_arm_loaded", **arm) == 1
    assert answered(predictor, "deeper", candidate) == 0


@pytest.mark.parametrize("damage", ["missing", "corrupt", "unfit"])
def test_unloadable_arm_is_reported_and_the_baseline_answers_its_users(
    predictor: RunningPredictor, store: BundleStore, tmp_path: Path, damage: str, baseline: str
) -> None:
    if damage == "missing":
        candidate = "sha256:" + "ab" * 32
    elif damage == "unfit":
        candidate = store.publish(bundle_files(plan_hash="0" * 64))
    else:
        candidate = store.publish(bundle_files(bias=2.0))
        model = tmp_path / "bundles" / candidate.replace(":", "-") / "model.onnx"
        model.chmod(0o644)
        model.write_bytes(model.read_bytes()[:-1] + b"?")
    predictor.route(routing(baseline, Share("broken", candidate, 5000)))
    assert {(answer["arm"], answer["model_version"]) for answer in ask_all(predictor)} == {
        ("baseline", baseline)
    }
    said = report(predictor)
    assert said.generation == 1
    assert [arm.state for arm in said.arms] == ["loaded", "failed"]
    assert said.arms[1].reason
    assert predictor.metric("reprise_predictor_arm_loaded", arm="broken", digest=candidate) == 0
    assert predictor.metric("reprise_predictor_arm_users_total", arm="broken", digest=candidate) > 0


def two_models(store: Path) -> tuple[str, str]:
    """Publish the latest model and another one; return their digests."""
    return published(store, bundle_files()), BundleStore(str(store)).publish(bundle_files(bias=2.0))


@pytest.mark.parametrize(
    ("settings", "rehearsal", "reason"),
    [
        ({"slowest_row_seconds": 1e-9}, None, "1e-09 s"),  # No model takes less than a nanosecond.
        (
            {"rehearsal_seconds": 60},
            "print('too large'); raise SystemExit(3)",
            "the rehearsal has failed: too large",
        ),
    ],
    ids=["slow", "fails its rehearsal"],
)
def test_arm_whose_model_is_slow_or_fails_its_rehearsal_is_refused(
    tmp_path: Path, settings: dict[str, Any], rehearsal: str | None, reason: str
) -> None:
    baseline, candidate = two_models(tmp_path)
    with running_predictor(tmp_path, **settings) as predictor:
        if rehearsal is not None:
            assert predictor.context.rehearsal is not None
            predictor.context.rehearsal.command = (sys.executable, "-c", rehearsal)
        predictor.route(routing(baseline, Share("bad", candidate, 10_000)))
        (_, arm) = report(predictor).arms
        assert arm.state == "failed"
        assert reason in str(arm.reason)
        assert predictor.metric("reprise_predictor_arm_loaded", arm="bad", digest=candidate) == 0
        assert ask(predictor, USERS[0])["arm"] == BASELINE


def test_arm_is_loading_until_three_rehearsals_in_a_row_have_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline, candidate = two_models(tmp_path)
    with running_predictor(tmp_path, rehearsal_seconds=60) as predictor:
        monkeypatch.setattr("reprise.predictor.services.bundle_loader._MAX_RETRY_SECONDS", 0.0)
        rehearsal = predictor.context.rehearsal
        assert rehearsal is not None
        rehearsal.command, command = (
            (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"),
            rehearsal.command,
        )
        predictor.route(routing(baseline, Share("starved", candidate, 10_000)))
        states = []
        for _ in range(4):
            (_, arm) = report(predictor).arms
            assert "the rehearsal was killed by SIGKILL" in str(arm.reason)
            states.append(arm.state)
            predictor.refresh_routing()
        assert states == ["loading", "loading", "failed", "failed"]
        rehearsal.command = command

        def is_loaded() -> bool:
            predictor.refresh_routing()
            return [arm.state for arm in report(predictor).arms] == ["loaded", "loaded"]

        wait_until("the arm is loaded", is_loaded, 120, every=0.02)


def test_rehearsals_end_with_the_predictor(tmp_path: Path) -> None:
    bundle = BundleStore(str(tmp_path)).fetch(published(tmp_path, bundle_files()))
    with running_predictor(tmp_path, rehearsal_seconds=60) as predictor:
        rehearsal = predictor.context.rehearsal
        assert rehearsal is not None
    with pytest.raises(UnfinishedRehearsalError, match="is stopping"):
        rehearsal.run(bundle)


@pytest.mark.parametrize(("misses", "seconds"), [(1, 5), (2, 10), (3, 20), (7, 300), (5000, 300)])
def test_delay_after_unfinished_rehearsals_doubles_up_to_five_minutes(misses: int, seconds: float) -> None:
    before = LoadFailure("", 0.0, misses - 1)
    after = LoadFailure.of(UnfinishedRehearsalError("slow"), before, retry_seconds=1.0)
    assert after.retry_at - time.monotonic() == pytest.approx(seconds, abs=1.0)
    assert LoadFailure.of(StoreRefusedError("redis", "down"), after, retry_seconds=1.0).unfinished == 0


def test_arm_answers_as_soon_as_its_bundle_is_published(
    predictor: RunningPredictor, store: BundleStore, monkeypatch: pytest.MonkeyPatch, baseline: str
) -> None:
    monkeypatch.setattr("reprise.predictor.services.model_router.RETRY_SECONDS", 0.0)
    files = bundle_files(bias=2.0)
    candidate = store.publish(files)
    folder = Path(store.location(candidate, "manifest.json")).parent
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    predictor.route(routing(baseline, Share("late", candidate, 10_000)))
    assert ask(predictor, "u")["arm"] == "baseline"
    hidden.rename(folder)
    predictor.refresh_routing()
    assert ask(predictor, "u")["arm"] == "late"


def test_document_is_applied_while_a_bundle_is_still_loading(
    predictor: RunningPredictor, store: BundleStore, monkeypatch: pytest.MonkeyPatch, baseline: str
) -> None:
    slow = store.publish(bundle_files(bias=2.0))
    go_on = threading.Event()
    fetch = BundleStore.fetch
    monkeypatch.setattr(BundleStore, "fetch", lambda self, digest: go_on.wait(10) and fetch(self, digest))
    predictor.routing.data = routing(baseline, Share("slow", slow, 10_000)).to_bytes()
    predictor.call(predictor.context.router.refresh)
    assert [arm.state for arm in report(predictor).arms] == ["loaded", "loading"]
    assert ask(predictor, "u")["arm"] == "baseline"
    predictor.routing.data = routing(baseline, generation=2).to_bytes()
    predictor.call(predictor.context.router.refresh)
    assert report(predictor).generation == 2
    go_on.set()
    predictor.call(predictor.context.router.wait_for_loads, 10.0)
    assert ask(predictor, "u")["arm"] == "baseline"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b'{"generation": 2, "rollout": "r", "salt": "s", "arms": [{}]}']
)
def test_invalid_document_is_refused_and_the_previous_one_stays(
    predictor: RunningPredictor, data: bytes, baseline: str, candidate: str
) -> None:
    good = routing(baseline, Share("deeper", candidate, 10_000))
    predictor.route(good)
    predictor.route(data)
    said = report(predictor)
    assert said.fingerprint == good.fingerprint
    assert said.refused is not None
    assert "routing document" in said.refused
    assert predictor.metric("reprise_predictor_routing_refused") == 1
    assert ask(predictor, "u")["arm"] == "deeper"
    predictor.route(good)
    assert report(predictor).refused is None, "the operator has restored it"
    assert predictor.metric("reprise_predictor_routing_refused") == 0


def test_a_document_can_only_choose_among_bundles_that_a_trusted_key_has_signed(tmp_path: Path) -> None:
    keys = key_files(tmp_path, "trainer")
    models = tmp_path / "models"
    signing = BundleStore(str(models), signing_key=SigningKey(keys.private))
    good = signing.publish(bundle_files())
    signing.set_latest(good)
    foreign = BundleStore(str(models)).publish(bundle_files(bias=2.0))
    with running_predictor(models, trusted_keys_file=keys.public) as predictor:
        predictor.route(routing(good, Share("foreign", foreign, 5000)))
        assert {answer["model_version"] for answer in ask_all(predictor)} == {good}
        [_, arm] = report(predictor).arms
        assert (arm.state, arm.reason.split(":")[0]) == ("failed", "UntrustedBundleError")
        predictor.route(routing(foreign, generation=2))
        said = report(predictor)
        assert (said.generation, {answer["model_version"] for answer in ask_all(predictor)}) == (1, {good})
        assert said.refused is not None
        assert "UntrustedBundleError" in said.refused


def test_with_trusted_keys_a_document_is_applied_if_it_is_signed_and_not_older(tmp_path: Path) -> None:
    operator, other = key_files(tmp_path, "operator"), key_files(tmp_path, "other")
    baseline, candidate = two_models(tmp_path)

    def document(generation: int) -> RoutingDocument:
        return routing(baseline, Share("deeper", candidate, 1000 * generation), generation=generation)

    with running_predictor(tmp_path, routing_trusted_keys_file=operator.public) as predictor:

        def said_after(generation: int, signed_by: Path | None) -> tuple[int | None, str | None]:
            predictor.route(document(generation), signed_by)
            said = report(predictor)
            assert predictor.metric("reprise_predictor_routing_refused") == (said.refused is not None)
            return said.generation, said.refused and said.refused.rpartition(": ")[2]

        assert said_after(1, None)[0] is None
        assert said_after(2, operator.private) == (2, None)
        with capture_logs() as logs:
            assert said_after(3, None) == (2, f"it is not signed by any key in {operator.public}")
            predictor.refresh_routing()
        assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["routing_refused"]
        assert said_after(3, other.private) == (2, f"no signature of it is by a key in {operator.public}")
        assert said_after(2, operator.private) == (2, None), "the operator has restored it"
        for _ in range(2):
            assert said_after(1, operator.private) == (2, "1 is older than 2")
        assert said_after(2, operator.private) == (2, None), "the operator has restored it"
        assert said_after(3, None)[1] is not None
        predictor.routing.data = None
        predictor.refresh_routing()
        assert (report(predictor).generation, report(predictor).refused) == (2, None), "it is deleted"
        assert said_after(3, None)[0] == 2
        predictor.routing.signature = DocumentKeys.read(signing=operator.private).sign(
            document_key("reprise"), document(3).to_bytes()
        )
        predictor.refresh_routing()
        assert (report(predictor).generation, report(predictor).refused) == (3, None)


def test_signed_document_is_applied_without_keys_and_may_be_older(
    predictor: RunningPredictor, baseline: str, tmp_path: Path
) -> None:
    for generation in 2, 1:
        predictor.route(routing(baseline, generation=generation), key_files(tmp_path, "operator").private)
        assert (report(predictor).generation, report(predictor).refused) == (generation, None)


def test_document_whose_baseline_cannot_be_loaded_is_refused(
    predictor: RunningPredictor, baseline: str
) -> None:
    predictor.route(routing("sha256:" + "cd" * 32))
    said = report(predictor)
    assert said.generation is None
    assert said.refused is not None
    assert "baseline cannot be loaded" in said.refused
    assert ask(predictor, "u")["model_version"] == baseline


@pytest.mark.parametrize(
    "failure", [StoreUnavailableError("read routing", "away"), StoreRefusedError("read routing", "NOPERM")]
)
def test_routing_stays_while_the_document_is_unavailable_or_gone(
    predictor: RunningPredictor, failure: Exception, baseline: str, candidate: str
) -> None:
    predictor.route(routing(baseline, Share("deeper", candidate, 10_000)))
    predictor.routing.failure = failure
    predictor.refresh_routing()
    assert ask(predictor, "u")["arm"] == "deeper"
    predictor.routing.failure = predictor.routing.data = None
    predictor.refresh_routing()
    assert ask(predictor, "u")["arm"] == "deeper"
    assert report(predictor).generation == 1


def test_releasing_document_returns_everybody_to_the_configured_model(
    predictor: RunningPredictor, baseline: str, candidate: str
) -> None:
    predictor.route(routing(baseline, Share("deeper", candidate, 10_000)))
    predictor.route(released(2))
    answer = ask(predictor, "u")
    assert (answer["arm"], answer["model_version"]) == ("baseline", baseline)
    assert (report(predictor).generation, report(predictor).arms) == (2, ())
    assert answered(predictor, "baseline", baseline) >= 1


def test_model_of_a_removed_arm_is_dropped(
    predictor: RunningPredictor, baseline: str, candidate: str
) -> None:
    predictor.route(routing(baseline, Share("deeper", candidate, 100)))
    predictor.route(routing(baseline, generation=2))
    assert candidate not in predictor.context.router._models
    labels = {"arm": "deeper", "digest": candidate, "outcome": "answered"}
    assert predictor.context.registry.get_sample_value("reprise_predictor_arm_answers_total", labels) is None


def test_new_users_are_counted_once_by_their_arm_until_another_document(
    predictor: RunningPredictor, baseline: str, candidate: str
) -> None:

    def users() -> float:
        return sum(
            predictor.metric("reprise_predictor_arm_users_total", arm=arm, digest=digest)
            for arm, digest in ((BASELINE, baseline), ("deeper", candidate))
        )

    predictor.route(routing(baseline, Share("deeper", candidate, 5000)))
    ask_all(predictor)
    ask_all(predictor)
    ask(predictor, USERS[0])
    assert users() == len(USERS)
    predictor.route(routing(baseline, Share("deeper", candidate, 6000), generation=2))
    ask_all(predictor)
    assert users() == 2 * len(USERS)


def test_baseline_answers_for_a_failing_candidate_whose_failure_is_counted(
    predictor: RunningPredictor, store: BundleStore, baseline: str
) -> None:
    fragile = store.publish(bundle_files(bias=2.0, fails_on_huge_inputs=True))
    predictor.route(routing(baseline, Share("fragile", fragile, 10_000)))
    assert ask(predictor, "u")["arm"] == "fragile"
    answer = ask(predictor, "u", event_type="purchase", amount=HUGE)
    assert (answer["arm"], answer["model_version"]) == ("baseline", baseline)
    assert answered(predictor, "fragile", fragile, "failed") == 1
    assert {result["arm"] for result in ask_all(predictor, event_type="purchase", amount=HUGE)} == {
        "baseline"
    }
    assert answered(predictor, "fragile", fragile, "failed") == 1 + len(USERS)
    assert answered(predictor, "baseline", baseline) == 1 + len(USERS)
    assert answered(predictor, "baseline", baseline, "failed") == 0


def test_failure_of_the_baseline_itself_is_a_problem_of_that_request_alone(tmp_path: Path) -> None:
    published(tmp_path, bundle_files(fails_on_huge_inputs=True))
    with running_predictor(tmp_path) as predictor:
        good = {"user_id": "u", "product_id": "p"}
        bad = {**good, "event_type": "purchase", "amount": HUGE}
        alone = predictor.client.post("/predict", json=bad)
        together = predictor.client.post("/predict/batch", json={"requests": [good, bad]}).json()
    assert alone.status_code == 500
    assert alone.json()["type"] == "urn:reprise:problem:model-failed"
    assert together["results"][0]["probability"] == 0.5
    assert together["results"][1]["type"] == "urn:reprise:problem:model-failed"


def test_candidate_of_another_plan_reads_its_own_rows(
    predictor: RunningPredictor, store: BundleStore, baseline: str
) -> None:
    plan = small_plan().to_dict()
    plan["entities"]["product"]["state"] = [{"kind": "count", "frame": "purchases"}]
    plan["entities"]["product"]["inputs"][0]["finish"] = {"kind": "value", "field": "purchases_count"}
    other = type(small_plan()).from_dict(plan)
    candidate = store.publish(bundle_files(other, weights={"product_views": 1.0}))
    predictor.route(routing(baseline, Share("other", candidate, 10_000)))
    model = predictor.context.router.table.arms[1].model
    predictor.reader.put(model.product.codec, [3], "p")
    answer = ask(predictor, "u")
    assert answer["arm"] == "other"
    assert answer["probability"] == pytest.approx(0.9526, abs=1e-4)
    assert {result["probability"] for result in ask_all(predictor)} == {answer["probability"]}
