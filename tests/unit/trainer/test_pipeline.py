from pathlib import Path

from reprise.bundle import BundleStore
from reprise.bundle.signature import SigningKey
from reprise.trainer import pipeline
from reprise.trainer.settings import TrainerSettings
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
