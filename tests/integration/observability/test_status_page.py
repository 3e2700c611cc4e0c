"""The page in a real Chromium, of the platform as it really runs: on a screen, on a phone, and without scripts."""

import re
from collections.abc import Iterator
from typing import Literal

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page

from support.observed_platform import SERVICES, Platform
from support.status_page import MISSING, chromium_path, opened, running_status
from support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.skipif(chromium_path() is None, reason=MISSING),
]

_TEXT_SIZES = """
[...document.querySelectorAll("body *")]
  .filter(each => [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
  .filter(each => !["STYLE", "SCRIPT", "NOSCRIPT"].includes(each.tagName) && each.getClientRects().length)
  .map(each => parseFloat(getComputedStyle(each).fontSize))
"""
_CURVES = "[...document.querySelectorAll('svg.curve')].map(each => Number(each.dataset.points))"


@pytest.fixture(scope="module")
def url(observed: Platform) -> str:
    """Address of the page, of a platform whose traffic flows."""
    address = running_status(observed)
    observed.check()
    return address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser) as empty:
        yield empty


def complaints(page: Page) -> list[str]:
    """Return a list to which the page's console errors and warnings, failed loads and exceptions are added."""
    found: list[str] = []
    problems = ("error", "warning", "assert")
    page.on("console", lambda said: found.append(said.text) if said.type in problems else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def wait(page: Page, expression: str) -> None:
    wait_until(expression, lambda: page.evaluate(expression), 120, every=0.1)


def updated_at(page: Page) -> str:
    found = re.search(r"Looked at (\S+)", page.inner_text(".asof"))
    assert found is not None
    return found[1]


def test_page_shows_what_the_services_and_prometheus_say(observed: Platform, url: str, page: Page) -> None:
    page.goto(url)
    wait(page, f"{_CURVES}.length === 6")
    digest = next(labels["digest"] for labels, _ in observed.prometheus.query("reprise_predictor_model_info"))
    assert digest.removeprefix("sha256:")[:12] in page.inner_text("#model")
    for service in SERVICES:
        assert service in page.inner_text("#running")
    assert page.inner_text("#running").count("ready") == len(SERVICES)
    assert "0 differ" in page.inner_text("#stream").replace("\u00a0", " ")
    for job in ("Training", "Outcomes", "Backfill"):
        assert job in page.inner_text("#jobs")
    assert "not known" not in page.inner_text("#jobs")
    assert re.fullmatch(r"\d[\d.]*\s(ms|s)", page.inner_text("#freshness_p95 .number"))
    told = httpx.get(f"{url}/status.json", trust_env=False).json()
    assert not [each for each in told["verdict"]["findings"] if "alerts are not known" in each["sentence"]]
    figures = told["figures"]
    assert figures["fold_rate"]["value"] > 0
    assert 0 < figures["freshness_p50"]["value"] <= figures["freshness_p95"]["value"]
    assert 0 < figures["latency_p50"]["value"] <= figures["latency_p99"]["value"]
    [(_, checked)] = observed.prometheus.query("reprise_outcomes_checked_values")
    assert figures["checked_values"]["value"] == checked > 0
    [(_, auc)] = observed.prometheus.query(
        'reprise_trainer_evaluation{measure="roc_auc",slice="overall",scorer="model"}'
    )
    assert told["model"]["auc"]["value"] == pytest.approx(auc)


def test_curves_are_drawn_and_nothing_is_complained_about(url: str, page: Page) -> None:
    found = complaints(page)
    page.goto(url)
    wait(page, f"{_CURVES}.length === 6 && Math.min(...{_CURVES}) >= 2")
    lengths = page.evaluate("[...document.querySelectorAll('path.line')].map(each => each.getTotalLength())")
    assert min(lengths) > 100
    assert found == []


def test_page_is_readable_on_a_phone(url: str, browser: Browser) -> None:
    with opened(browser, phone=True) as page:
        page.goto(url)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
        assert page.evaluate("innerWidth") == 390
        sizes = page.evaluate(_TEXT_SIZES)
        assert len(sizes) > 40
        assert min(sizes) >= 14
        beyond = page.evaluate(
            "[...document.querySelectorAll('main *')].filter(each => !each.closest('svg'))"
            ".filter(each => each.getBoundingClientRect().right > 390.5).map(each => each.outerHTML.slice(0, 200))"
        )
    assert beyond == []


def test_numbers_are_refreshed_without_a_reload(url: str, page: Page) -> None:
    found = complaints(page)
    page.goto(url)
    page.evaluate("window.neverReloaded = true")
    before = updated_at(page)
    wait(page, f"!document.querySelector('.asof').innerText.includes('{before}')")
    assert page.evaluate("window.neverReloaded") is True
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert found == []


def test_page_is_whole_and_refreshed_without_scripts(url: str, browser: Browser) -> None:
    with opened(browser, java_script_enabled=False) as page:
        page.goto(url)
        assert page.inner_text("h1")
        assert min(page.evaluate(_CURVES)) >= 2
        before = updated_at(page)
        wait_until("the page is refreshed", lambda: updated_at(page) != before, 120, every=0.2)


def test_server_that_is_gone_is_told_and_what_was_known_stays(url: str, page: Page) -> None:
    page.goto(url)
    before = page.inner_text("h1")
    page.context.set_offline(True)
    wait(page, "!document.getElementById('lost').hidden")
    assert "has not been refreshed" in page.inner_text("#lost")
    assert page.inner_text("h1") == before
    page.context.set_offline(False)
    wait(page, "document.getElementById('lost').hidden")


def test_dark_and_light_differ_and_can_be_read(url: str, page: Page) -> None:
    luminance = (
        "(() => { const [r, g, b] = getComputedStyle({}).{}.match(/[0-9.]+/g).map(Number);"
        " return 0.2126 * r + 0.7152 * g + 0.0722 * b; })()"
    )
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        page.goto(url)
        ground = page.evaluate(
            luminance.replace("{}", "document.documentElement", 1).replace("{}", "backgroundColor", 1)
        )
        ink = page.evaluate(luminance.replace("{}", "document.body", 1).replace("{}", "color", 1))
        assert (ground > 200 and ink < 60) if scheme == "light" else (ground < 60 and ink > 200)


def test_a_service_that_hangs_is_the_headline_within_seconds(url: str, page: Page) -> None:
    found = complaints(page)
    page.goto(url)
    [address] = (
        process["address"]
        for service in httpx.get(f"{url}/status.json", trust_env=False).json()["services"]
        for process in service["processes"]
        if service["name"] == "archiver"
    )
    process = listening(int(address.rpartition(":")[2]))
    process.suspend()
    try:
        wait(page, "document.querySelector('#running').innerText.includes('no answer')")
        assert "No archiver answers: it does not answer in time." in page.inner_text(".verdict")
        assert found == []
    finally:
        process.resume()
    wait(page, "!document.querySelector('#running').innerText.includes('no answer')")


def listening(port: int) -> psutil.Process:
    [pid] = {
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    }
    return psutil.Process(pid)
