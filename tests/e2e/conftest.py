"""The cluster, and the platform on it, installed once for all tests of a file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.support.cluster import Cluster, Platform

NAMESPACE = os.environ.get("REPRISE_E2E_NAMESPACE", "reprise-e2e")
TAG = os.environ.get("REPRISE_E2E_TAG", "dev")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of KUBECONFIG; without that variable its tests are skipped, whatever else is missing fails them."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set; make e2e brings a cluster up")
    return Cluster.find()


@pytest.fixture(scope="module")
def platform(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """The platform, freshly installed into a namespace of its own, which is deleted in the end.

    REPRISE_E2E_NAMESPACE and REPRISE_E2E_TAG say where and which images; REPRISE_E2E_KEEP=1 leaves it there. A file of
    tests may have it otherwise, by ``PLATFORM``, attributes of ``Platform``.
    """
    namespace = NAMESPACE + getattr(request.module, "NAMESPACE_SUFFIX", "")
    attributes = getattr(request.module, "PLATFORM", {})
    platform = Platform(cluster, namespace, TAG, **attributes)
    platform.remove()
    with diagnosed(platform, request):
        platform.install()
        yield platform


@contextmanager
def diagnosed(platform: Platform, request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what is in the namespace if something fails, so that a log of CI is enough, and delete it in the end."""
    failed = request.session.testsfailed
    try:
        yield
        if request.session.testsfailed > failed:
            _print_diagnosis(request, platform)
    except Exception:
        _print_diagnosis(request, platform)
        raise
    finally:
        if os.environ.get("REPRISE_E2E_KEEP") != "1":
            platform.remove(wait=False)


def _print_diagnosis(request: pytest.FixtureRequest, platform: Platform) -> None:
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(platform.diagnosis(), file=sys.stderr)
