"""TCP connections from pods of a test's namespace, to find out what NetworkPolicies let through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.support.cluster import Platform
from support.waiting import wait_until

_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except socket.gaierror:
    raise
except OSError:
    print("refused")
else:
    print("connected")
"""
_SECONDS = 30.0
"""Longest wait until a policy acts on a new pod."""


def connects(platform: Platform, source: str, address: str) -> bool:
    """Return whether a pod, such as ``pod/stranger`` or ``deployment/reprise-status``, connects to ``host:port``.

    Raises:
        CommandError: The pod does not run, or its cluster does not resolve the host.
    """
    said = platform.kubectl("exec", source, "--", "python3", "-c", _CONNECT, *address.split(":"))
    return "connected" in said


def is_refused(platform: Platform, source: str, address: str) -> bool:
    """Return whether a pod does not connect, as soon as the policies of a new pod act."""
    try:
        return wait_until("it is refused", lambda: not connects(platform, source, address), _SECONDS)
    except TimeoutError:
        return False


@contextmanager
def strangers(platform: Platform) -> Iterator[None]:
    """The pods of ``strangers.yaml``, until left."""
    fixture = platform.fixture("strangers.yaml")
    platform.kubectl("apply", "-f", "-", stdin=fixture)
    try:
        platform.kubectl("wait", "--for=condition=Ready", "pod/stranger", "pod/closed", "--timeout=60s")
        yield
    finally:
        platform.kubectl("delete", "-f", "-", "--timeout=60s", stdin=fixture)


@contextmanager
def idle_job(platform: Platform, component: str) -> Iterator[str]:
    """A Job's pod that runs nothing, with the labels of the component; yields its address for ``kubectl exec``."""
    job = f"idle-{component}"
    platform.start_job(job, component, lambda container: container.update(command=["sleep", "600"], args=[]))
    try:
        wait_until("its pod runs", lambda: platform.get("job", job)["status"].get("ready"), 60)
        yield f"job/{job}"
    finally:
        platform.kubectl("delete", "job", job, "--grace-period=1", "--timeout=60s")
