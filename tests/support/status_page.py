"""Pictures of the status page, and of Prometheus' own, from a platform that runs."""

from collections.abc import Iterator
from pathlib import Path

import httpx
from support.chromium import Tab, running_chromium
from support.observed_platform import Prometheus

SERVICES = ("predictor", "producer", "materializer", "archiver")
_SCREEN = (1200, 800)
_PHONE = (390, 844)
_HISTORY = "Math.min(...[...document.querySelectorAll('svg.curve')].map(each => Number(each.dataset.points)))"


# Where the rules lie on this machine is of no interest in a picture.
_WITHOUT_FOLDERS = r"""
for (const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); walk.nextNode();) {
  walk.currentNode.data = walk.currentNode.data.replace(/\/\S*\/(?=rules\.yaml)/, "");
}
"""


def screenshots(platform: Prometheus, folder: Path, looks: int = 2) -> list[Path]:
    """Write what a person sees into this folder, and return the files.

    Args:
        platform: The running platform.
        folder: Where to.
        looks: How many points each curve is to have, at least.
    """
    with running_chromium() as tab:
        return list(_pictures(tab, platform, folder, looks))


def _pictures(tab: Tab, platform: Prometheus, folder: Path, looks: int) -> Iterator[Path]:
    tab.prefer("light")
    tab.resize(*_SCREEN)
    tab.open(platform.status_url)
    tab.wait(f"{_HISTORY} >= {min(looks, 100)}", 300)
    yield _shot(tab, folder / "status.png")
    tab.resize(*_PHONE, phone=True)
    tab.open(platform.status_url)
    yield _shot(tab, folder / "status-phone.png")
    tab.resize(*_SCREEN)
    tab.open(_alerts(platform.url))
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
