"""The status page of a platform that runs, and pictures of it and of Prometheus' own."""

from collections.abc import Iterator
from pathlib import Path

import httpx

from reprise.cli.demo import commands
from reprise.cli.demo.latency import wait_ready
from reprise.cli.demo.processes import own_command
from support.chromium import Tab, running_chromium
from support.observed_platform import SERVICES, Platform

_SCREEN = (1200, 800)
_PHONE = (390, 844)
_HISTORY = "Math.min(...[...document.querySelectorAll('svg.curve')].map(each => Number(each.dataset.points)))"
_ALL_CURVES = "document.querySelectorAll('svg.curve').length === 6"

# Where the rules lie on this machine is of no interest in a picture.
_WITHOUT_FOLDERS = r"""
for (const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); walk.nextNode();) {
  walk.currentNode.data = walk.currentNode.data.replace(/\/\S*\/(?=rules\.yaml)/, "");
}
"""


def running_status(platform: Platform) -> str:
    """Start a status page among the platform's processes, which looks each second, and return its address."""
    port = commands.free_port()
    look = {
        "STATUS_TARGETS": ",".join(f"{name}={platform.url(name)}" for name in SERVICES),
        "STATUS_INTERVAL_SECONDS": "1",
        "PUSHGATEWAY_URL": platform.url("pushgateway"),
        "API_HOST": "127.0.0.1",
        "API_PORT": str(port),
    }
    platform.tree.start("status", own_command("status"), look)
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(timeout=10, trust_env=False) as client:
        wait_ready(client, url, platform.tree.check)
    return url


def screenshots(platform: Platform, status: str, folder: Path, looks: int = 2) -> list[Path]:
    """Write what a person sees into this folder, and return the files.

    Args:
        platform: The running platform.
        status: Address of its status page.
        folder: Where to.
        looks: How many points each curve is to have, at least.
    """
    with running_chromium() as tab:
        return list(_pictures(tab, platform, status, folder, looks))


def _pictures(tab: Tab, platform: Platform, status: str, folder: Path, looks: int) -> Iterator[Path]:
    tab.prefer("light")
    tab.resize(*_SCREEN)
    tab.open(status)
    tab.wait(f"{_ALL_CURVES} && {_HISTORY} >= {looks}", 300)
    yield _shot(tab, folder / "status.png")
    tab.resize(*_PHONE, phone=True)
    tab.open(status)
    yield _shot(tab, folder / "status-phone.png")
    tab.resize(*_SCREEN)
    tab.open(_alerts(platform.prometheus.url))
    tab.wait("document.body.innerText.includes('ReprisePredictionErrorBudgetBurnsFast')")
    tab.evaluate(_WITHOUT_FOLDERS)
    yield _shot(tab, folder / "alerts.png")


def _alerts(prometheus: str) -> str:
    """Return where this Prometheus shows its alerts: Debian's has only the page of before."""
    pages = (f"{prometheus}{path}" for path in ("/alerts", "/classic/alerts"))
    return next(page for page in pages if httpx.get(page, trust_env=False).is_success)


def _shot(tab: Tab, path: Path) -> Path:
    tab.screenshot(path)
    return path
