"""Google Cloud Storage and Azure Blob Storage, as their emulators speak them."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import fsspec
import pytest
from gcp_storage_emulator.server import create_server

from support.redis import free_port
from support.s3 import s3_bucket
from support.waiting import wait_until

_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of the emulator's account, which its documentation publishes."""


@contextmanager
def gcs_bucket(name: str) -> Iterator[str]:
    """Give the URL of an empty bucket; where it is comes from the environment."""
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, create_server("localhost", port, in_memory=True):
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        yield from _container("gs", name)


@contextmanager
def azure_container(name: str) -> Iterator[str]:
    """Give the URL of an empty container; its account comes from the environment."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not on PATH: npm install --global azurite")
    port = free_port()
    options = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", f"--blobPort={port}"]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        wait_until("azurite answers", lambda: _answers(port), 120, every=0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(
                "AZURE_STORAGE_CONNECTION_STRING",
                f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_AZURE_KEY};"
                f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;",
            )
            yield from _container("abfs", name)
    finally:
        server.kill()  # otherwise it waits for open connections
        server.wait()


STORES: dict[str, Callable[[str], AbstractContextManager[str]]] = {
    "s3": s3_bucket,
    "gs": gcs_bucket,
    "abfs": azure_container,
}


def _container(protocol: str, name: str) -> Iterator[str]:
    kind = fsspec.get_filesystem_class(protocol)
    kind.clear_instance_cache()
    filesystem = fsspec.filesystem(protocol)
    filesystem.mkdir(name)
    yield f"{protocol}://{name}"
    kind.clear_instance_cache()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
