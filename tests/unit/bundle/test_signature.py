import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from reprise.bundle import BundleStore, InvalidBundleError, InvalidKeyFileError, UntrustedBundleError
from reprise.bundle import store as store_module
from reprise.bundle.signature import SigningKey, TrustedKeys
from reprise.cli.main import command
from reprise.predictor.metrics import PredictorMetrics
from reprise.predictor.services.bundle_loader import BundleLoader
from reprise.predictor.services.configured_model import ConfiguredModel
from support.served_bundles import bundle_files

MakeKey = Callable[[str], SimpleNamespace]


@pytest.fixture
def make_key(tmp_path: Path) -> MakeKey:
    """Writes a pair of keys by the command."""

    def make(name: str) -> SimpleNamespace:
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub"
        result = CliRunner().invoke(command, ["model", "keygen", str(private), str(public)])
        assert result.exit_code == 0, result.output
        assert private.stat().st_mode & 0o077 == 0
        return SimpleNamespace(private=private, public=public, key=SigningKey(private))

    return make


def trusting(folder: Path, *keys: SimpleNamespace) -> BundleStore:
    trusted = folder / "pinned.pem"
    trusted.write_bytes(b"".join(each.public.read_bytes() for each in keys))
    return BundleStore(str(folder / "models"), trusted=TrustedKeys(trusted))


async def test_unsigned_or_wrongly_signed_model_leaves_the_signed_one_serving(
    tmp_path: Path, make_key: MakeKey
) -> None:
    trusted, other = make_key("trusted"), make_key("other")
    models = str(tmp_path / "models")
    good = BundleStore(models, signing_key=trusted.key)
    good.set_latest(good.publish(bundle_files()))
    loader = BundleLoader(trusting(tmp_path, trusted), "reprise")
    serving = ConfiguredModel(loader, "latest", PredictorMetrics(CollectorRegistry()))
    await serving.refresh()
    assert serving.current.digest == good.latest()
    unsigned, by_another = "not signed by any key", "no signature of it is by a key"
    for bias, signing_key, reason in (1.0, None, unsigned), (2.0, other.key, by_another):
        attacker = BundleStore(models, signing_key=signing_key)
        attacker.set_latest(attacker.publish(bundle_files(bias=bias)))
        await serving.refresh()
        assert serving.current.digest == bundle_files().digest
        assert serving.refusal is not None
        assert reason in serving.refusal.reason
    sign = ["model", "sign", "latest", "--store", models, "--key", str(trusted.private)]
    result = CliRunner().invoke(command, sign)
    assert result.exit_code == 0, result.output
    await serving.refresh()
    assert serving.current.digest == bundle_files(bias=2.0).digest, "a signature is added to the others"


def test_keys_are_rotated_without_a_restart(tmp_path: Path, make_key: MakeKey) -> None:
    old, new = make_key("old"), make_key("new")
    store = trusting(tmp_path, old)
    by_old = BundleStore(store.url, signing_key=old.key).publish(bundle_files())
    by_new = BundleStore(store.url, signing_key=new.key).publish(bundle_files(bias=1.0))
    store.fetch(by_old)
    trusting(tmp_path, old, new)
    assert store.fetch(by_old).digest == by_old
    assert store.fetch(by_new).digest == by_new
    trusting(tmp_path, new)
    with pytest.raises(UntrustedBundleError):
        store.fetch(by_old)
    # The same model published again by the new key gets its signature.
    BundleStore(store.url, signing_key=new.key).publish(bundle_files())
    assert store.fetch(by_old).digest == by_old


def test_signature_of_another_manifest_is_refused(tmp_path: Path, make_key: MakeKey) -> None:
    key = make_key("key")
    store = trusting(tmp_path, key)
    first = BundleStore(store.url, signing_key=key.key).publish(bundle_files())
    second = BundleStore(store.url).publish(bundle_files(bias=1.0))
    signature = Path(store.location(first, "manifest.sig")).read_bytes()
    for content in (signature, b"!", b"", b"AAAA\n"):
        Path(store.location(second, "manifest.sig")).write_bytes(content)
        with pytest.raises(UntrustedBundleError):
            store.fetch(second)
        with pytest.raises(UntrustedBundleError):
            store.set_latest(second)


def test_signature_and_keys_are_those_of_openssl(tmp_path: Path, make_key: MakeKey) -> None:
    key = make_key("key")
    store = BundleStore(str(tmp_path / "models"), signing_key=key.key)
    manifest = Path(store.location(store.publish(bundle_files()), "manifest.json"))
    raw = subprocess.run(
        ["openssl", "base64", "-d", "-A", "-in", manifest.with_suffix(".sig")],
        check=True,
        capture_output=True,
    ).stdout
    (tmp_path / "raw.sig").write_bytes(raw)
    check = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key.public, "-rawin", "-in", manifest]
    subprocess.run([*check, "-sigfile", tmp_path / "raw.sig"], check=True, capture_output=True)


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_files_without_keys_are_named(tmp_path: Path, make_key: MakeKey, content: bytes) -> None:
    path = tmp_path / "keys.pem"
    path.write_bytes(content)
    for read in (TrustedKeys, SigningKey):
        with pytest.raises(InvalidKeyFileError, match=r"keys\.pem: "):
            read(path)
    path.unlink()
    with pytest.raises(InvalidKeyFileError, match="No such file"):
        TrustedKeys(path)
    key = make_key("key")
    store = trusting(tmp_path, key)
    digest = BundleStore(store.url, signing_key=key.key).publish(bundle_files())
    (tmp_path / "pinned.pem").write_bytes(content)
    with pytest.raises(InvalidKeyFileError):
        store.fetch(digest)


def test_keygen_replaces_no_file(tmp_path: Path, make_key: MakeKey) -> None:
    before = make_key("key").private.read_bytes()
    again = CliRunner().invoke(
        command, ["model", "keygen", str(tmp_path / "key.pem"), str(tmp_path / "new.pub")]
    )
    assert again.exit_code == 1
    assert "File exists" in again.output
    assert (tmp_path / "key.pem").read_bytes() == before
    other = [str(tmp_path / "new.pem"), str(tmp_path / "key.pub")]
    assert "key.pub: File exists" in CliRunner().invoke(command, ["model", "keygen", *other]).output
    assert not (tmp_path / "new.pem").exists()


@pytest.mark.parametrize(
    ("name", "limit"),
    [("manifest.json", "MAX_MANIFEST_BYTES"), ("model.onnx", "MAX_GRAPH_BYTES")],
)
def test_files_beyond_their_maximum_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: str
) -> None:
    store, files = BundleStore(str(tmp_path)), bundle_files()
    digest = store.publish(files)
    size = Path(store.location(digest, name)).stat().st_size
    monkeypatch.setattr(store_module, limit, size)
    store.fetch(digest)
    monkeypatch.setattr(store_module, limit, size - 1)
    with pytest.raises(InvalidBundleError, match=rf"{name}: .* maximum of {size - 1:,} bytes"):
        store.fetch(digest)
    with pytest.raises(InvalidBundleError, match=f"{name}: "):
        store.publish(files)
