"""The status page of a running platform in a real Chromium, driven by Playwright, and pictures of what it shows."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from reprise.cli.demo.latency import wait_ready
from support.observed_platform import SERVICES, Platform

MISSING = "chromium is not installed (the Debian package of this name)"
WAIT_MS = 120_000
_SCREEN = {"width": 1200, "height": 800}
_PHONE = {"width": 390, "height": 844}
_HISTORY = "Math.min(...[...document.querySelectorAll('svg.curve')].map(each => Number(each.dataset.points)))"
_ALL_CURVES = "document.querySelectorAll('svg.curve').length === 6"

# Where the rules lie on this machine is of no interest in a picture.
_WITHOUT_FOLDERS = r"""
for (const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); walk.nextNode();) {
  walk.currentNode.data = walk.currentNode.data.replace(/\/\S*\/(?=rules\.yaml)/, "");
}
"""


def chromium_path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def running_chromium() -> Iterator[Browser]:
    if (program := chromium_path()) is None:
        raise FileNotFoundError(MISSING)
    # Its sandbox refuses to run as root, which a container's tests are.
    options: dict[str, Any] = {"chromium_sandbox": os.geteuid() != 0, "args": ["--no-proxy-server"]}
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, **options) as browser,
    ):
        yield browser


@contextmanager
def opened(browser: Browser, *, phone: bool = False, **options: Any) -> Iterator[Page]:
    """Give an empty page of the size of a screen, or of a phone with two device pixels per CSS pixel."""
    size = (
        {"viewport": _PHONE, "is_mobile": True, "device_scale_factor": 2} if phone else {"viewport": _SCREEN}
    )
    with browser.new_context(**size, **options) as context:
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        yield page


def running_status(platform: Platform) -> str:
    """Start a status page among the platform's processes, which polls each second, and return its address."""
    polling = {
        "STATUS_TARGETS": ",".join(f"{name}={platform.url(name)}" for name in SERVICES),
        "STATUS_INTERVAL_SECONDS": "1",
        "STATUS_PROMETHEUS_URL": platform.prometheus.url,
        "PUSHGATEWAY_URL": platform.url("pushgateway"),
        "STATUS_SCORES": str(platform.paths.scores),
    }
    url = platform.tree.serve("status", ["status"], polling)
    with httpx.Client(timeout=10, trust_env=False) as client:
        wait_ready(client, url, platform.tree.check)
    return url


def screenshots(
    browser: Browser, platform: Platform, status: str, folder: Path, points: int = 2
) -> list[Path]:
    """Write pictures of the status page, its tabs and Prometheus' alerts into a folder, and return the files.

    Each curve has at least this many points.
    """
    paths = [folder / name for name in ("status.png", "status-phone.png", "alerts.png")]
    paths.append(report_screenshot(browser, status, folder))
    with opened(browser, color_scheme="light") as page:
        page.goto(status)
        page.wait_for_function(f"{_ALL_CURVES} && {_HISTORY} >= {points}", timeout=300_000)
        page.screenshot(path=paths[0], full_page=True)
        page.goto(_alerts(platform.prometheus.url))
        page.wait_for_function("document.body.innerText.includes('ReprisePredictionErrorBudgetBurnsFast')")
        page.evaluate(_WITHOUT_FOLDERS)
        page.screenshot(path=paths[2], full_page=True)
    with opened(browser, phone=True, color_scheme="light") as page:
        page.goto(status)
        page.screenshot(path=paths[1], full_page=True)
    return paths


def report_screenshot(browser: Browser, status: str, folder: Path) -> Path:
    """Write a picture of the tab of the nightly report on a phone, and return the file."""
    path = folder / "status-report-phone.png"
    with opened(browser, phone=True, color_scheme="light") as page:
        page.set_viewport_size({**_PHONE, "height": 1400})  # the report scrolls in its frame
        page.goto(f"{status}/status/report")
        page.frame_locator("iframe").locator("#demand img").wait_for()
        page.screenshot(path=path)
    return path


def _alerts(prometheus: str) -> str:
    """Return where this Prometheus shows its alerts: Debian's has only the classic page."""
    pages = (f"{prometheus}{path}" for path in ("/alerts", "/classic/alerts"))
    return next(page for page in pages if httpx.get(page, trust_env=False).is_success)
