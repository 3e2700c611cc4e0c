"""The offline store on S3, as moto's server speaks it."""

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
from reprise.log import EVENTS
from reprise.runtime.storage import LocalStorage, StorageUnavailableError, open_storage
from support.archived import Boundaries, CrashError, MemoryLog, archive_worker, event_records
from support.certificates import self_signed
from support.histories import make_events
from support.offline import put
from support.s3 import s3_bucket

BUCKET = "reprise-offline-test"


@pytest.fixture
def s3_url() -> Iterator[str]:
    with s3_bucket(BUCKET) as url:
        yield f"{url}/offline"


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


def test_a_url_of_s3_opens_an_object_storage(s3_url: str) -> None:
    assert not isinstance(open_storage(s3_url), LocalStorage)


def test_dying_and_archiving_again_leaves_the_objects_of_an_undisturbed_run(s3_url: str) -> None:
    whole = Boundaries()
    archive(log_of(), f"{s3_url}/undisturbed", whole)
    expected = objects(f"{s3_url}/undisturbed")
    assert len(expected) == 6
    for dies_at in range(0, whole.passed, 3):
        log, url = log_of(), f"{s3_url}/died-{dies_at}"
        with pytest.raises(CrashError):
            archive(log, url, Boundaries(dies_at))
        archive(log, url)
        assert objects(url) == expected


def test_archived_events_are_read_and_compacted(s3_url: str) -> None:
    archive(log_of(), s3_url)
    store = OfflineStore(s3_url)
    before = events_dataset(store)
    assert before.num_rows == 120
    report = compact(store, EVENTS.name, before=date(2100, 1, 1))
    assert (report.written, report.removed) == (2, 6)
    assert len(objects(s3_url)) == 2
    assert events_dataset(store).equals(before)


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


def test_a_bucket_that_does_not_exist_is_unavailable_and_named(s3_url: str) -> None:
    store = OfflineStore("s3://no-such-bucket/offline")
    with pytest.raises(StorageUnavailableError, match="no-such-bucket"):
        put(store, log_of(3).records[0])
