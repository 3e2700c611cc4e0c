from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq

from reprise.bundle import BundleStore
from reprise.bundle.signature import SigningKey
from reprise.evaluation.time_split import split_by_time
from reprise.trainer import pipeline
from reprise.trainer.settings import TrainerSettings
from support.hard_histories import random_history
from support.histories import event_table
from support.served_bundles import bundle_files, small_plan


def test_a_latest_that_no_trusted_key_signed_is_not_compared_with(tmp_path: Path) -> None:
    _, public = SigningKey.generate()
    (tmp_path / "trusted.pem").write_bytes(public)
    models = BundleStore(str(tmp_path / "models"))
    models.set_latest(models.publish(bundle_files()))
    settings = TrainerSettings.load(
        events=tmp_path, out=models.url, trusted_keys_file=tmp_path / "trusted.pem", horizon="30d"
    )
    serving, reason = pipeline._latest(settings, small_plan(), settings.open_models(settings.out))
    assert serving is None
    assert "not signed by any key" in reason


def test_a_latest_whose_plan_is_of_another_format_is_replaced_without_a_comparison(tmp_path: Path) -> None:
    models = BundleStore(str(tmp_path))
    models.set_latest(models.publish(bundle_files(plan={"format": 0})))
    new = models.publish(bundle_files())
    settings = TrainerSettings.load(events=tmp_path, out=models.url, horizon="30d")
    serving, reason = pipeline._latest(settings, small_plan(), models)
    said = pipeline._set_latest(models, SimpleNamespace(digest=new), None, reason)
    assert serving is None
    assert said.startswith("yes, without a comparison: ")
    assert "format" in said
    assert models.latest() == new


def test_too_few_users_for_a_model_of_theirs_are_no_reason_to_publish_nothing(tmp_path: Path) -> None:
    events = random_history(3, 60, users=3, products=2)
    pq.write_table(event_table(events), tmp_path / "events.parquet")
    settings = TrainerSettings.load(events=tmp_path, out="models", horizon="1d")
    times = [event.timestamp_us for event in events]
    split = split_by_time(min(times), max(times), timedelta(days=1))
    history = SimpleNamespace(events=tmp_path / "events.parquet", split=split)
    durations: dict[str, float] = {}
    reason = pipeline._train_users(history, small_plan(), settings, durations)
    assert isinstance(reason, str)
    assert "rows of users" in reason
