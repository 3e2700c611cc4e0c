import asyncio
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from reprise.bundle import BundleStore
from reprise.bundle.rehearsal import Rehearsal
from reprise.predictor.exceptions import NoModelError
from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.services.bundle_loader import BundleLoader
from reprise.predictor.services.configured_model import ConfiguredModel
from support.predictor import published, running_predictor
from support.served_bundles import bundle_files
from support.waiting import wait_until


def configured_model(store: Path, wanted: str = "latest") -> ConfiguredModel:
    loader = BundleLoader(BundleStore(str(store)), "reprise")
    return ConfiguredModel(loader, wanted, PredictorMetrics(CollectorRegistry()))


async def test_latest_model_takes_over_when_it_changes_and_a_pinned_one_stays(tmp_path: Path) -> None:
    first = published(tmp_path, bundle_files(bias=0.0))
    models, pinned = configured_model(tmp_path), configured_model(tmp_path, first)
    await models.refresh()
    before = models.current
    await models.refresh()
    assert models.current is before, "an unchanged model is not loaded again"
    second = published(tmp_path, bundle_files(bias=1.0))
    for each, digest in ((models, second), (pinned, first)):
        await each.refresh()
        assert each.current.digest == digest


def test_refused_model_leaves_the_old_one_serving_is_logged_once_and_shown(tmp_path: Path) -> None:
    good = published(tmp_path, bundle_files())
    with running_predictor(tmp_path) as predictor:
        refresh = predictor.context.configured_model.refresh
        bad = published(tmp_path, bundle_files(plan_hash="0" * 64))
        with capture_logs() as logs:
            for _ in range(2):
                predictor.call(refresh)
        assert [(line["event"], line["still_answering"]) for line in logs] == [("model_refused", good)]
        info = predictor.client.get("/model/info").json()
        assert (info["digest"], info["refused"]["digest"]) == (good, bad)
        assert "plan_hash" in info["refused"]["reason"]
        assert predictor.metric("reprise_predictor_model_refused", digest=bad) == 1
        assert predictor.client.get("/ready").status_code == 200
        BundleStore(str(tmp_path)).set_latest(good)
        predictor.call(refresh)
        assert predictor.client.get("/model/info").json()["refused"] is None


KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
HANGING = "import time; time.sleep(600)"


@pytest.mark.parametrize(
    ("action", "reason", "attempts"),
    [(KILLED, "the rehearsal was killed by SIGSEGV", 1), (HANGING, "the rehearsal has exceeded 3 s", 2)],
)
async def test_model_that_ends_its_rehearsal_leaves_the_old_one_serving_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, reason: str, attempts: int
) -> None:
    monkeypatch.setattr("reprise.predictor.services.bundle_loader.RETRY_SECONDS", 0.5)
    good = published(tmp_path, bundle_files())
    bad = bundle_files(bias=1.0)
    (tmp_path / "child.py").write_text(
        "import sys\n"
        f"if sys.stdin.buffer.read().endswith({bad.model!r}):\n"
        f"    open({str(tmp_path / 'attempts')!r}, 'a').write('1')\n"
        f"    {action}\n"
    )
    rehearsal = Rehearsal(3.0, 2**28, (sys.executable, "-I", str(tmp_path / "child.py")))
    loader = BundleLoader(BundleStore(str(tmp_path)), "reprise", rehearsal)
    registry = CollectorRegistry()
    models = ConfiguredModel(loader, "latest", PredictorMetrics(registry))
    await models.refresh()
    digest = published(tmp_path, bad)
    turns = 0
    for pause in (0.0, 0.0, 0.6):  # the second is too early
        await asyncio.sleep(pause)
        refreshing = asyncio.create_task(models.refresh())
        while not refreshing.done():
            await asyncio.sleep(0.01)
            turns += 1
    assert action == KILLED or turns > 100, "the event loop goes on meanwhile"
    assert models.current.digest == good
    assert models.refusal is not None
    assert f"{digest}: {reason}" in models.refusal.reason
    assert registry.get_sample_value("reprise_predictor_model_refused", {"digest": digest}) == 1
    assert len((tmp_path / "attempts").read_text()) == attempts, "only what may succeed later is tried again"


async def test_corrupt_model_is_refused_until_it_is_restored(tmp_path: Path) -> None:
    files = bundle_files()
    digest = published(tmp_path, files)
    path = Path(BundleStore(str(tmp_path)).location(digest, "model.onnx"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    models = configured_model(tmp_path)
    await models.refresh()
    assert models.loaded is None
    assert models.refusal is not None
    assert "BundleCorruptError" in models.refusal.reason
    published(tmp_path, files)
    await models.refresh()
    assert models.current.digest == digest
    assert models.refusal is None


def test_process_without_a_model_is_live_unready_and_predicts_nothing_until_one_is_published(
    tmp_path: Path,
) -> None:
    with running_predictor(tmp_path, model_reload_seconds=0.01) as predictor:
        assert predictor.client.get("/health").status_code == 200
        assert predictor.client.get("/ready").json()["detail"] == "no model is loaded"
        response = predictor.client.post("/predict", json={"user_id": "u", "product_id": "p"})
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["type"] == "urn:reprise:problem:no-model"
        assert predictor.client.get("/model/info").status_code == 503
        digest = published(tmp_path, bundle_files())
        wait_until("it is loaded", lambda: predictor.client.get("/model/info").status_code == 200, 10)
        assert predictor.context.configured_model.current.digest == digest


def test_process_without_polling_does_not_start_without_a_model(tmp_path: Path) -> None:
    with (
        pytest.raises(NoModelError, match=r"latest\.json does not exist"),
        running_predictor(tmp_path, model_reload_seconds=0),
    ):
        pass


class BrokenLibraryError(Exception):
    pass


def test_failed_background_task_makes_the_process_unready(tmp_path: Path) -> None:
    published(tmp_path, bundle_files())
    with running_predictor(tmp_path, redis_ping_seconds=0.01) as predictor:
        assert predictor.client.get("/ready").status_code == 200
        predictor.reader.failure = BrokenLibraryError("ping")
        wait_until(
            "it is unready", lambda: predictor.client.get("/ready").status_code != 200, 120, every=0.01
        )
        assert predictor.client.get("/ready").json()["detail"] == "store health has stopped"
