"""The offline store and the model store on object stores, as their emulators speak them."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import boto3
import pytest
import s3fs
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from reprise.archive import OfflineStore, compact, events_dataset
from reprise.bundle import BundleStore
from reprise.log import EVENTS
from reprise.runtime.storage import LocalStorage, StorageUnavailableError, open_storage
from support.archived import Boundaries, CrashError, MemoryLog, archive_worker, event_records
from support.certificates import self_signed
from support.collection import SOAK
from support.histories import make_events
from support.object_stores import STORES
from support.offline import put
from support.s3 import s3_bucket
from support.served_bundles import bundle_files

BUCKET = "reprise-offline-test"


@pytest.fixture
def s3_url() -> Iterator[str]:
    with s3_bucket(BUCKET) as url:
        yield f"{url}/offline"


@pytest.fixture(params=list(STORES))
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder of each object store."""
    with STORES[request.param](BUCKET) as bucket:
        yield f"{bucket}/offline"


@pytest.fixture
def s3_with_a_private_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server whose certificate the returned file verifies; it has a bucket."""
    key, certificate = self_signed(tmp_path)
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, ssl_context=(str(certificate), str(key)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield certificate
    server.shutdown()
    thread.join()
    server.server_close()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_with_a_private_ca_is_used_with_its_bundle_alone(
    s3_with_a_private_ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageUnavailableError):
        open_storage(f"s3://{BUCKET}/offline").read("file")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(s3_with_a_private_ca))
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    filesystem.mkdir(BUCKET)
    storage = open_storage(f"s3://{BUCKET}/offline")
    storage.write("file", b"content")
    assert storage.read("file") == b"content"
    # Feast's registry
    assert boto3.client("s3").list_buckets()["Buckets"][0]["Name"] == BUCKET
    filesystem.rm(BUCKET, recursive=True)


def log_of(count: int = 60) -> MemoryLog:
    return MemoryLog({p: event_records(p, make_events(count, seed=p), range(count)) for p in range(2)})


def objects(url: str) -> dict[str, bytes]:
    storage = open_storage(url)
    found = {}
    for path in storage.files(""):
        with storage.open(path) as opened:
            found[path] = opened.read()
    return found


def archive(log: MemoryLog, url: str, boundaries: Boundaries | None = None) -> None:
    worker, _ = archive_worker(log, Path(), storage=open_storage(url), boundaries=boundaries)
    worker.run_until_idle(threading.Event(), 0.01)


def test_files_are_replaced_listed_and_removed(url: str) -> None:
    storage = open_storage(url)
    assert not isinstance(storage, LocalStorage)
    assert (storage.files(""), storage.version("a/file")) == ([], None)
    for read in (storage.read, storage.open):
        with pytest.raises(FileNotFoundError):
            read("a/file")
    storage.remove("a/file")
    versions = []
    for content in (b"", b"first", b"second"):
        storage.write("a/file", content)
        versions.append(storage.version("a/file"))
        assert storage.read("a/file") == content
    assert storage.read("a/file", 3) == b"sec"
    storage.write("a/.hidden", b"hidden")
    storage.write("b", b"other")
    assert len({*versions, None}) == 4
    assert storage.version("a/file") == versions[-1]
    assert (storage.files(""), storage.files("a"), storage.files("c")) == (["a/file", "b"], ["a/file"], [])
    storage.remove("b")
    assert storage.files("") == ["a/file"]
    assert storage.location("b") == f"{url}/b"


def test_a_file_that_is_replaced_while_it_is_read_is_never_a_mixture(url: str, tmp_path: Path) -> None:
    storage, size = open_storage(url), 12 * 1024 * 1024
    source = tmp_path / "source"
    for letter in (b"a", b"b"):
        source.write_bytes(letter * size)
        storage.write("file", source)
        if letter == b"a":
            opened = storage.open("file")
            begin = opened.read(10)
    with opened:
        try:
            rest = opened.read()
        except OSError:
            rest = begin
    assert set(begin + rest) == {ord("a")}
    assert storage.read("file") == b"b" * size


def test_a_published_bundle_is_fetched_and_the_latest_changes(url: str) -> None:
    store = BundleStore(url)
    digests = [store.publish(bundle_files(threshold=threshold)) for threshold in (0.3, 0.4)]
    for digest in digests:
        store.set_latest(digest)
        assert (store.latest(), store.fetch(digest).digest) == (digest, digest)
    assert sorted(store.digests()) == sorted(digests)


def test_dying_and_archiving_again_leaves_the_objects_of_an_undisturbed_run(url: str) -> None:
    whole = Boundaries()
    archive(log_of(), f"{url}/undisturbed", whole)
    expected = objects(f"{url}/undisturbed")
    assert len(expected) == 6
    for dies_at in range(0, whole.passed, 1 if SOAK else 7):
        log, folder = log_of(), f"{url}/died-{dies_at}"
        with pytest.raises(CrashError):
            archive(log, folder, Boundaries(dies_at))
        archive(log, folder)
        assert objects(folder) == expected


def test_archived_events_are_read_and_compacted(url: str) -> None:
    archive(log_of(), url)
    store = OfflineStore(url)
    before = events_dataset(store)
    assert before.num_rows == 120
    report = compact(store, EVENTS.name, before=date(2100, 1, 1))
    assert (report.written, report.removed) == (2, 6)
    assert len(objects(url)) == 2
    assert events_dataset(store).equals(before)


@pytest.mark.parametrize(
    ("protocol", "module", "extra"), [("gs", "gcsfs", "gcs"), ("abfs", "adlfs", "azure")]
)
def test_an_image_without_the_package_says_how_to_build_one_with_it(
    protocol: str, module: str, extra: str
) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from reprise.runtime.storage import open_storage, StorageAddressError\n"
        f"try: open_storage('{protocol}://bucket/models')\n"
        "except StorageAddressError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"STORE={extra}" in done.stdout


def test_an_s3_that_is_away_is_unavailable_and_named(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nmax_attempts = 1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    store = OfflineStore(s3_url)
    with pytest.raises(StorageUnavailableError, match=BUCKET):
        put(store, log_of(3).records[0])
    with pytest.raises(StorageUnavailableError, match=BUCKET):
        store.segments(EVENTS.name)


def test_a_bucket_that_does_not_exist_is_unavailable_and_named(url: str) -> None:
    store = OfflineStore(f"{url.partition('://')[0]}://no-such-bucket/offline")
    with pytest.raises(StorageUnavailableError, match="no-such-bucket"):
        put(store, log_of(3).records[0])
