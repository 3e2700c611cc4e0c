"""The tab of the nightly report in a real Chromium: on a phone, without scripts, and with a report made to do harm."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page

from reprise.cli.demo.latency import wait_ready
from reprise.cli.demo.processes import ProcessTree
from reprise.scoring.main import nightly_command as nightly
from support.demand_shop import arguments, publish_model, purchases
from support.status_page import MISSING, chromium_path, opened, report_screenshot
from support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium_path() is None, reason=MISSING),
]

HOSTILE = """<!doctype html><title>report</title>
<meta http-equiv="refresh" content="0; url=/status.json">
<script>document.title = "harmed"; fetch("/status.json"); top.document.title = "harmed";</script>
<body onload="document.title = 'harmed'">
<img src="/status.json?image" onerror="document.title = 'harmed'">
<style>@import "/status.json?style"; body { background: url(/status.json?background) }</style>
<form action="/status.json"><button>send</button></form>
<a id="top" href="/status.json?top" target="_top">top</a>
<a id="window" href="/status.json?window" target="_blank">window</a>
<p id="end">end</p>
"""


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a nightly run."""
    folder, models = tmp_path_factory.mktemp("scores"), publish_model(tmp_path_factory.mktemp("models"))
    words = (*arguments(models, folder, purchases()), "--backtests", "2")
    done = CliRunner(env={"REPRISE_PROGRESS": "off"}).invoke(nightly, words)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def url(scores: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {
        "STATUS_TARGETS": "producer=http://127.0.0.1:9",
        "STATUS_SCORES": str(scores),
        "STATUS_REPORT_INTERVAL_SECONDS": "0.2",
    }
    with ProcessTree(tmp_path_factory.mktemp("logs")) as tree, httpx.Client(trust_env=False) as client:
        address = tree.serve("status", ["status"], settings)
        wait_ready(client, address, tree.check)
        wait_for_report(address, (scores / "report.html").read_bytes())
        yield address


def wait_for_report(url: str, page: bytes) -> None:
    address = f"{url}/status/report.html"
    wait_until("it is served", lambda: httpx.get(address, trust_env=False).content == page, 20, every=0.1)


def assert_harmless(page: Page, url: str, path: str) -> None:
    """Open a page with the hostile report, and check that nothing changes or is loaded, whatever is clicked."""
    answered: list[str] = []
    page.on("response", lambda response: answered.append(response.url.removeprefix(url)))
    page.goto(f"{url}{path}")
    title = page.title()
    shown = page.frames[-1]
    shown.locator("#end").wait_for()
    for target in ("button", "#window", *(["#top"] if len(page.frames) > 1 else [])):
        shown.locator(target).click()
    page.wait_for_timeout(1_000)
    assert page.title() == title != "harmed"
    assert page.url == f"{url}{path}"
    assert len(page.context.pages) == 1
    assert set(answered) == {path, "/status/report.html"}
    assert shown.locator("#end").is_visible()


def overflowing(page: Page, frame: str | None = None) -> int:
    """Return by how many pixels a page, or its frame, is wider than the phone."""
    root = page.locator("html") if frame is None else page.frame_locator(frame).locator("html")
    return int(root.evaluate("each => each.scrollWidth - each.clientWidth"))


def test_tabs_lead_to_the_report_and_back_without_scripts_on_a_phone(url: str, browser: Browser) -> None:
    with opened(browser, phone=True, java_script_enabled=False) as page:
        page.goto(url)
        assert overflowing(page) == 0
        page.get_by_role("link", name="Nightly report").click()
        page.wait_for_url("**/status/report")
        report = page.frame_locator("iframe")
        assert "What to expect until" in report.locator("h1").inner_text()
        assert report.locator("#demand").count() == report.locator("#errors").count() == 1
        page.get_by_role("link", name="Platform").click()
        page.wait_for_url("**/status")
        assert page.locator("#running").is_visible()


def test_report_fills_a_phone_and_scrolls_in_one_direction(url: str, browser: Browser) -> None:
    with opened(browser, phone=True) as page:
        page.goto(f"{url}/status/report")
        page.frame_locator("iframe").locator("#demand img").wait_for()
        assert overflowing(page) == overflowing(page, "iframe") == 0
        frame = page.locator("iframe").bounding_box()
        assert frame is not None
        assert (frame["x"], frame["width"]) == (0, 390)
        assert round(frame["y"] + frame["height"]) == 844
        tabs = page.locator("nav a")
        assert min(tabs.nth(n).bounding_box()["height"] for n in range(2)) >= 40  # type: ignore[index]
        assert page.locator("nav a[aria-current=page]").inner_text() == "Nightly report"


def test_picture_of_the_tab_is_written(url: str, browser: Browser, tmp_path: Path) -> None:
    assert report_screenshot(browser, url, tmp_path).read_bytes().startswith(b"\x89PNG")


def test_hostile_report_runs_nothing_and_leads_nowhere(
    url: str, scores: Path, browser: Browser, tmp_path: Path
) -> None:
    harmful = HOSTILE.replace('http-equiv="refresh"', "")  # which would lead away before the title is read
    (tmp_path / "report.html").write_text(harmful)
    report = scores / "report.html"
    before = report.read_bytes()
    report.write_text(HOSTILE)
    try:
        wait_for_report(url, HOSTILE.encode())
        with opened(browser) as page:
            page.goto((tmp_path / "report.html").as_uri())
            wait_until("it does harm where nothing stops it", lambda: page.title() == "harmed", 20, every=0.1)
        for path in ("/status/report", "/status/report.html"):
            with opened(browser) as page:
                assert_harmless(page, url, path)
    finally:
        report.write_bytes(before)
        wait_for_report(url, before)
