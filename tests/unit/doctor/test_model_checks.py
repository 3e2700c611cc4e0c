from collections.abc import Callable
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


def test_a_bundle_that_is_whole_and_fits_the_plan_is_well(store: str) -> None:
    digest = published(Path(store), bundle_files())
    for wanted in ("latest", digest):
        assert digest[:19] in check_model(store, wanted, PLAN, say).text


def publish_and_overwrite(models: Path) -> None:
    digest = published(models, bundle_files())
    Path(BundleStore(str(models)).location(digest, "model.onnx")).write_bytes(b"other")


@pytest.mark.parametrize(
    ("publish", "found", "section"),
    [
        (lambda _: None, "no bundle is marked as the latest", "the-trainer-did-not-run"),
        (publish_and_overwrite, "model.onnx: expected sha256", "a-model-is-refused"),
        (
            lambda models: published(models, bundle_files(checked_in_plan())),
            "reads state of the schema",
            "predictions-fail",
        ),
        (
            lambda models: published(models, bundle_files(plan_hash="0" * 64)),
            "plan_hash 000000000000 is not that of its own plan",
            "a-model-is-refused",
        ),
    ],
    ids=["no model", "other bytes", "other state", "contradicts its own plan"],
)
def test_a_model_that_cannot_be_served_fails_with_its_remedy(
    store: str, publish: Callable[[Path], object], found: str, section: str
) -> None:
    publish(Path(store))
    with pytest.raises(CheckFailedError, match=found) as failed:
        check_model(store, "latest", PLAN, say)
    assert failed.value.remedy.section == section


def test_a_store_that_is_not_named_is_skipped() -> None:
    with pytest.raises(CheckSkippedError, match="MODEL_STORE"):
        check_model(None, "latest", PLAN, say)


def info(digest: str, **more: object) -> dict[str, object]:
    return {"digest": digest, "schema_hash": PLAN.schema_hash, "refused": None, **more}


OLD, NEW = (f"sha256:{number * 64}" for number in "12")


def served(*infos: dict[str, object], seconds: float = 0.0) -> str:
    platform = FakePlatform()
    platform.info = list(infos)
    predictor = Predictor(platform.client())
    return check_served_model(predictor, lambda: (NEW, "the model store"), PLAN, say, seconds).text


def test_the_predictor_serves_the_expected_model_or_loads_it_soon() -> None:
    assert "as the model store says" in served(info(NEW))
    assert NEW[:19] in served(info(OLD), info(NEW), seconds=30.0)


@pytest.mark.parametrize(
    ("shown", "found", "section"),
    [
        (
            info(OLD, refused={"digest": NEW, "reason": "ModelRefusedError: inputs differ"}),
            r"refused .*ModelRefusedError: inputs differ",
            "a-model-is-refused",
        ),
        (info(NEW, schema_hash="0" * 64), "reads state of the schema 000000000000", "predictions-fail"),
    ],
    ids=["refused", "reads other state"],
)
def test_a_predictor_without_the_expected_model_fails_with_its_remedy(
    shown: dict[str, object], found: str, section: str
) -> None:
    with pytest.raises(CheckFailedError, match=found) as failed:
        served(shown)
    assert failed.value.remedy.section == section


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
