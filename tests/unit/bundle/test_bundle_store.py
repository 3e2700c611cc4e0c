import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from reprise.bundle import (
    EVALUATED,
    EVALUATED_HORIZON,
    EVALUATED_USERS,
    HORIZON,
    USERS,
    Bundle,
    BundleCorruptError,
    BundleFiles,
    BundleNotFoundError,
    BundleStore,
    InvalidBundleError,
    InvalidDigestError,
    sha256_hex,
)
from reprise.runtime.storage import Storage, StorageAddressError, open_storage
from support.served_bundles import bundle_files

StoreFactory = Callable[[], BundleStore]

MODEL_BYTES = b"onnx graph" * 100


def make_files(*, seed: int = 7, trained_at: str = "2026-11-23") -> BundleFiles:
    files = bundle_files(graph=MODEL_BYTES, seed=seed)
    metadata = json.dumps({"trained_at": trained_at}).encode()
    return replace(files, attachments={"metadata.json": metadata, "model_card.html": b"<html>"})


@pytest.fixture(params=["path", "file url", "relative", "memory"])
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoreFactory:
    monkeypatch.chdir(tmp_path)
    urls = {
        "path": str(tmp_path / "models"),
        "file url": f"file://{tmp_path}/deep/models",
        "relative": "file://./models",
        "memory": f"memory://{tmp_path.name}-{request.node.name}/models",
    }
    return lambda: BundleStore(urls[request.param])


def local_file(store: BundleStore, digest: str, name: str) -> Path:
    return Path(store.location(digest, name))


def bundles(store: BundleStore) -> list[str]:
    """The digests of the complete bundles."""
    return sorted(store.digests())


def test_published_bundle_is_fetched_byte_for_byte(open_store: StoreFactory) -> None:
    files = make_files()
    digest = open_store().publish(files)

    bundle = open_store().fetch(digest)

    assert digest == f"sha256:{sha256_hex(files.manifest)}"
    assert bundle.model == files.model
    assert bundle.manifest.to_bytes() == files.manifest
    assert bundle.metadata == {"trained_at": "2026-11-23"}
    card = f"bundles/{digest.replace(':', '-')}/model_card.html"
    assert open_storage(open_store().url).read(card) == b"<html>"
    assert bundles(open_store()) == [digest]


def test_foreign_folders_are_no_bundles(open_store: StoreFactory) -> None:
    digest = open_store().publish(make_files())
    for name in "copy", f"{digest.replace(':', '-')}.bak", f"copy/{digest.replace(':', '-')}":
        open_storage(open_store().url).write(f"bundles/{name}/manifest.json", b"{}")
    assert bundles(open_store()) == [digest]


def test_publishing_again_changes_nothing(open_store: StoreFactory) -> None:
    first = open_store().publish(make_files())
    second = open_store().publish(make_files(trained_at="2027-01-01"))
    assert first == second
    assert bundles(open_store()) == [first]
    assert open_store().fetch(first).metadata == {"trained_at": "2026-11-23"}


def test_attachments_are_not_part_of_the_digest() -> None:
    assert make_files(trained_at="a").digest == make_files(trained_at="b").digest
    assert make_files(seed=1).digest != make_files(seed=2).digest


def test_latest_names_the_bundle_it_was_set_to(open_store: StoreFactory) -> None:
    store = open_store()
    with pytest.raises(BundleNotFoundError, match=r"latest\.json does not exist"):
        store.latest()
    first, second = store.publish(make_files(seed=1)), store.publish(make_files(seed=2))
    store.set_latest(first)
    store.set_latest(second)
    assert open_store().latest() == second
    assert bundles(open_store()) == sorted((first, second))


def test_latest_cannot_name_a_missing_bundle(open_store: StoreFactory) -> None:
    store = open_store()
    with pytest.raises(BundleNotFoundError, match="has no bundle sha256:"):
        store.set_latest(make_files().digest)
    with pytest.raises(BundleNotFoundError, match=r"latest\.json"):
        store.latest()


def test_missing_bundle_is_not_found(open_store: StoreFactory) -> None:
    with pytest.raises(BundleNotFoundError, match="has no bundle sha256:"):
        open_store().fetch(make_files().digest)
    assert bundles(open_store()) == []


@pytest.mark.parametrize(
    "text", ["latest", "sha256:12", "sha256:" + "A" * 64, "../../etc", None, "md5:" + "0" * 64]
)
def test_what_is_no_digest_is_refused(tmp_path: Path, text: object) -> None:
    with pytest.raises(InvalidDigestError, match="expected sha256:"):
        BundleStore(str(tmp_path)).fetch(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_one_changed_bit_is_found_and_the_file_named(tmp_path: Path, name: str) -> None:
    store = BundleStore(str(tmp_path))
    digest = store.publish(make_files())
    path = local_file(store, digest, name)
    original = path.read_bytes()
    changed = bytearray(original)
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)

    with pytest.raises(BundleCorruptError) as caught:
        store.fetch(digest)

    assert caught.value.location == str(path)
    assert caught.value.expected == sha256_hex(original)
    assert caught.value.actual == sha256_hex(bytes(changed))
    assert str(path) in str(caught.value)


def test_truncated_or_lost_model_is_corrupt_and_restored_by_publishing_again(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path))
    digest = store.publish(make_files())
    path = local_file(store, digest, "model.onnx")
    path.write_bytes(MODEL_BYTES[:10])
    with pytest.raises(BundleCorruptError):
        store.fetch(digest)
    path.unlink()
    with pytest.raises(BundleCorruptError, match="no file"):
        store.fetch(digest)
    store.publish(make_files())
    assert store.fetch(digest).model == MODEL_BYTES


WEEK = 604_800
WINDOW = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z", "rows": 10, "positives": 2}
REFIT = {
    "train": WINDOW, "newest_row": "2026-04-01T00:00:00Z", "calibration": WINDOW,
    "evaluated_sha256": sha256_hex(b"evaluated"), "evaluated_threshold": 0.3,
}  # fmt: skip


def test_further_graphs_are_those_of_the_model_or_absent_without_them(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path))
    bundle = store.fetch(store.publish(make_files()))
    assert store.evaluated_model(bundle) == MODEL_BYTES
    assert store.user_models(bundle) is None
    assert bundle.horizons == store.evaluated_horizons(bundle) == {}


@pytest.mark.parametrize(
    ("name", "read", "expected"),
    [
        (EVALUATED, BundleStore.evaluated_model, b"evaluated"),
        (USERS, BundleStore.user_models, (b"published", b"evaluated")),
        (EVALUATED_USERS, BundleStore.user_models, (b"published", b"evaluated")),
        (HORIZON.format(WEEK), lambda store, bundle: store.fetch(bundle.digest).horizons, {WEEK: b"week"}),
        (EVALUATED_HORIZON.format(WEEK), BundleStore.evaluated_horizons, {WEEK: b"week"}),
    ],
)
def test_further_graphs_are_verified_and_restored(
    tmp_path: Path, name: str, read: Callable[[BundleStore, Bundle], object], expected: object
) -> None:
    files = bundle_files(refit=REFIT, users=(b"published", b"evaluated"), horizons={WEEK: b"week"})
    files = replace(files, attachments={**files.attachments, EVALUATED: b"evaluated"})
    store = BundleStore(str(tmp_path))
    bundle = store.fetch(store.publish(files))
    path = local_file(store, bundle.digest, name)
    path.write_bytes(b"other")
    with pytest.raises(BundleCorruptError, match=name):
        read(store, bundle)
    path.unlink()
    with pytest.raises(BundleCorruptError, match="no file"):
        read(store, bundle)
    store.publish(files)
    assert read(store, bundle) == expected


def test_manifest_of_another_model_is_not_published(tmp_path: Path) -> None:
    files = make_files()
    with pytest.raises(InvalidBundleError, match=r"model\.onnx has sha256"):
        BundleStore(str(tmp_path)).publish(BundleFiles(files.manifest, b"other"))
    assert bundles(BundleStore(str(tmp_path))) == []


class PowerCut(Exception):  # noqa: N818 - it is what happens, not what the code reports
    pass


class FailingStorage(Storage):
    """A storage in memory that stops after a number of writes."""

    def __init__(self, root: str, writes: int) -> None:
        super().__init__(MemoryFileSystem(), root)
        self._left = writes

    def write(self, path: str, content: bytes | Path) -> None:
        if self._left == 0:
            raise PowerCut
        self._left -= 1
        super().write(path, content)


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_interrupted_publication_leaves_no_bundle_and_can_be_repeated(tmp_path: Path, writes: int) -> None:
    url = f"memory://{tmp_path.name}-interrupted-{writes}"
    files = make_files()
    with pytest.raises(PowerCut):
        BundleStore(url, storage=FailingStorage(f"/{tmp_path.name}-interrupted-{writes}", writes)).publish(
            files
        )

    assert bundles(BundleStore(url)) == []
    with pytest.raises(BundleNotFoundError):
        BundleStore(url).fetch(files.digest)
    BundleStore(url).publish(files)
    assert BundleStore(url).fetch(files.digest).model == files.model


def test_local_store_keeps_no_temporary_files(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path))
    digest = store.publish(make_files())
    store.publish(make_files())
    local_file(store, digest, "model.onnx").write_bytes(b"")
    store.publish(make_files())
    store.set_latest(digest)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    directory = f"bundles/{digest.replace(':', '-')}"
    assert names == [
        f"{directory}/{name}" for name in ("manifest.json", "metadata.json", "model.onnx", "model_card.html")
    ] + ["latest.json"]


def test_unreadable_pointer_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "latest.json").write_text('{"digest": "newest"}')
    with pytest.raises(InvalidBundleError, match="expected"):
        BundleStore(str(tmp_path)).latest()


@pytest.mark.parametrize("url", ["gopher://models", "", "  "])
def test_unusable_url_is_refused(url: str) -> None:
    with pytest.raises(StorageAddressError):
        BundleStore(url)


@pytest.mark.parametrize("name", ["../up.html", ".hidden", "model.onnx", "manifest.json"])
def test_attachment_cannot_take_another_files_place(name: str) -> None:
    with pytest.raises(InvalidBundleError, match="cannot be the name of an attachment"):
        BundleFiles(b"{}", b"", {name: b""})
