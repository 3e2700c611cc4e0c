from pathlib import Path

import pytest

from reprise.bundle import BundleStore
from reprise.doctor.check import CheckFailedError, CheckSkippedError
from reprise.doctor.checks.model import check_model, check_served_model, expected_model
from reprise.doctor.checks.services import Predictor
from reprise.routing import RoutingDocument, allocate
from support.fake_services import FakePlatform
from support.plans import checked_in_plan
from support.predictor import published
from support.served_bundles import bundle_files, small_plan

PLAN = small_plan()


def say(_: str) -> None: ...


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "models")


def failure(store: str, wanted: str = "latest") -> CheckFailedError:
    with pytest.raises(CheckFailedError) as failed:
        check_model(store, wanted, PLAN, say)
    return failed.value


def test_a_bundle_that_is_whole_and_fits_the_plan_is_well(store: str) -> None:
    digest = published(Path(store), bundle_files())
    for wanted in ("latest", digest):
        assert digest[:19] in check_model(store, wanted, PLAN, say).text


def test_a_store_without_a_model_says_to_train_one(store: str) -> None:
    failed = failure(store)
    assert "no bundle is marked as the latest" in failed.found
    assert (failed.remedy.section, "reprise train" in failed.remedy.advice) == (
        "the-trainer-did-not-run",
        True,
    )


def test_bytes_that_are_not_those_that_were_published_fail_with_the_file(store: str) -> None:
    digest = published(Path(store), bundle_files())
    Path(BundleStore(store).location(digest, "model.onnx")).write_bytes(b"other")
    failed = failure(store)
    assert "model.onnx: expected sha256" in failed.found
    assert failed.remedy.section == "a-model-is-refused"


def test_a_bundle_for_other_state_fails(store: str) -> None:
    published(Path(store), bundle_files(checked_in_plan()))
    failed = failure(store)
    assert "reads state of the schema" in failed.found
    assert failed.remedy.section == "predictions-fail"


def test_a_bundle_that_contradicts_its_own_plan_fails(store: str) -> None:
    published(Path(store), bundle_files(plan_hash="0" * 64))
    assert "plan_hash 000000000000 is not that of its own plan" in failure(store).found


def test_a_store_that_is_not_named_is_skipped() -> None:
    with pytest.raises(CheckSkippedError, match="MODEL_STORE"):
        check_model(None, "latest", PLAN, say)


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


def info(digest: str, **more: object) -> dict[str, object]:
    return {"digest": digest, "schema_hash": PLAN.schema_hash, "refused": None, **more}


OLD, NEW = (f"sha256:{number * 64}" for number in "12")


def served(platform: FakePlatform, seconds: float = 0.0) -> str:
    predictor = Predictor(platform.client())
    return check_served_model(predictor, lambda: (NEW, "the model store"), PLAN, say, seconds).text


def test_the_predictor_answers_with_the_model_that_it_should(platform: FakePlatform) -> None:
    platform.info = [info(NEW)]
    assert "as the model store says" in served(platform)


def test_a_predictor_may_take_a_moment_to_notice_another_model(platform: FakePlatform) -> None:
    platform.info = [info(OLD), info(NEW)]
    assert NEW[:19] in served(platform, 30.0)


def test_a_predictor_that_has_refused_the_model_fails_with_its_reason(platform: FakePlatform) -> None:
    platform.info = [info(OLD, refused={"digest": NEW, "reason": "ModelRefusedError: inputs differ"})]
    with pytest.raises(CheckFailedError, match=r"refused .*ModelRefusedError: inputs differ") as failed:
        served(platform)
    assert failed.value.remedy.section == "a-model-is-refused"


def test_a_predictor_that_reads_other_state_than_is_kept_fails(platform: FakePlatform) -> None:
    platform.info = [info(NEW, schema_hash="0" * 64)]
    with pytest.raises(CheckFailedError, match="reads state of the schema 000000000000"):
        served(platform)


def test_the_rollout_says_first_which_model_answers_then_the_setting_then_the_store(store: str) -> None:
    digest = published(Path(store), bundle_files())
    document = RoutingDocument(generation=1, rollout="reprise/trial", salt="s", arms=allocate(OLD, (), {}))
    released = RoutingDocument(generation=2, rollout="reprise/trial", salt="s", arms=())
    assert expected_model(lambda: document, store, NEW) == (OLD, "the rollout reprise/trial")
    assert expected_model(lambda: released, store, NEW) == (NEW, "MODEL_DIGEST")
    assert expected_model(lambda: None, store, "latest") == (digest, "the model store")
    with pytest.raises(CheckSkippedError):
        expected_model(lambda: None, None, "latest")
    with pytest.raises(CheckFailedError, match="invalid routing document"):
        expected_model(lambda: RoutingDocument.from_bytes(b"{}"), store, "latest")
