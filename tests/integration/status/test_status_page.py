"""The page in a real Chromium, of the platform as it really runs: on a screen, on a phone, and without scripts."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from support.chromium import MISSING, Tab, chromium_path, running_chromium
from support.observed_platform import SERVICES, Platform, missing_programs, observed_platform
from support.status_page import running_status, screenshots

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
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
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with observed_platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture(scope="module")
def page(platform: Platform) -> str:
    """Address of the page, of a platform whose traffic flows."""
    url = running_status(platform)
    platform.check()
    return url


@pytest.fixture
def tab() -> Iterator[Tab]:
    with running_chromium() as opened:
        yield opened


def text(tab: Tab, selector: str = "body") -> str:
    return str(tab.evaluate(f"document.querySelector({selector!r}).innerText"))


def looked_at(tab: Tab) -> str:
    found = re.search(r"Looked at (\S+)", text(tab, ".asof"))
    assert found is not None
    return found[1]


def test_page_shows_what_the_services_and_prometheus_say(platform: Platform, page: str, tab: Tab) -> None:
    tab.resize(1200, 900)
    tab.open(page)
    tab.wait(f"{_CURVES}.length === 6")
    digest = next(labels["digest"] for labels, _ in platform.prometheus.query("reprise_predictor_model_info"))
    assert digest.removeprefix("sha256:")[:12] in text(tab, "#model")
    for service in SERVICES:
        assert service in text(tab, "#running")
    assert text(tab, "#running").count("ready") == len(SERVICES)
    assert "0 differ" in text(tab, "#stream").replace("\u00a0", " ")
    for job in ("Training", "Outcomes", "Backfill"):
        assert job in text(tab, "#jobs")
    assert "not known" not in text(tab, "#jobs")
    assert re.fullmatch(r"\d[\d.]*\s(ms|s)", text(tab, "#freshness_p95 .number"))
    told = httpx.get(f"{page}/status.json", trust_env=False).json()
    figures = told["figures"]
    assert figures["fold_rate"]["value"] > 0
    assert 0 < figures["freshness_p50"]["value"] <= figures["freshness_p95"]["value"]
    assert 0 < figures["latency_p50"]["value"] <= figures["latency_p99"]["value"]
    [(_, checked)] = platform.prometheus.query("reprise_outcomes_checked_values")
    assert figures["checked_values"]["value"] == checked > 0
    [(_, auc)] = platform.prometheus.query(
        'reprise_trainer_evaluation{measure="roc_auc",slice="overall",scorer="model"}'
    )
    assert told["model"]["auc"]["value"] == pytest.approx(auc)


def test_curves_are_drawn_and_nothing_is_complained_about(page: str, tab: Tab) -> None:
    tab.open(page)
    tab.wait(f"{_CURVES}.length === 6 && Math.min(...{_CURVES}) >= 2")
    lengths = tab.evaluate("[...document.querySelectorAll('path.line')].map(each => each.getTotalLength())")
    assert min(lengths) > 100
    assert tab.complaints == []


def test_page_is_readable_on_a_phone(page: str, tab: Tab) -> None:
    tab.resize(390, 844, phone=True)
    tab.open(page)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert tab.evaluate("innerWidth") == 390
    sizes = tab.evaluate(_TEXT_SIZES)
    assert len(sizes) > 40
    assert min(sizes) >= 14
    beyond = tab.evaluate(
        "[...document.querySelectorAll('main *')].filter(each => !each.closest('svg'))"
        ".filter(each => each.getBoundingClientRect().right > 390.5).map(each => each.outerHTML.slice(0, 200))"
    )
    assert beyond == []


def test_numbers_are_refreshed_without_a_reload(page: str, tab: Tab) -> None:
    tab.open(page)
    tab.evaluate("window.neverReloaded = true")
    before = looked_at(tab)
    tab.wait(f"!document.querySelector('.asof').innerText.includes('{before}')")
    assert tab.evaluate("window.neverReloaded") is True
    assert tab.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert tab.complaints == []


def test_page_is_whole_and_refreshed_without_scripts(page: str, tab: Tab) -> None:
    tab.run_scripts(False)
    tab.open(page)
    assert tab.evaluate("document.querySelector('h1').innerText")
    assert min(tab.evaluate(_CURVES)) >= 2
    before = looked_at(tab)
    tab.wait(f"!document.querySelector('.asof')?.innerText.includes('{before}')")


def test_server_that_is_gone_is_told_and_what_was_known_stays(page: str, tab: Tab) -> None:
    tab.open(page)
    before = text(tab, "h1")
    tab.call("Network.enable")
    offline = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    tab.call("Network.emulateNetworkConditions", offline=True, **offline)
    tab.wait("!document.getElementById('lost').hidden")
    assert "has not been refreshed" in text(tab, "#lost")
    assert text(tab, "h1") == before
    tab.call("Network.emulateNetworkConditions", offline=False, **offline | {"downloadThroughput": -1})
    tab.wait("document.getElementById('lost').hidden")


def test_dark_and_light_differ_and_can_be_read(page: str, tab: Tab) -> None:
    luminance = (
        "(() => { const [r, g, b] = getComputedStyle({}).{}.match(/[0-9.]+/g).map(Number);"
        " return 0.2126 * r + 0.7152 * g + 0.0722 * b; })()"
    )
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        tab.open(page)
        ground = tab.evaluate(
            luminance.replace("{}", "document.documentElement", 1).replace("{}", "backgroundColor", 1)
        )
        ink = tab.evaluate(luminance.replace("{}", "document.body", 1).replace("{}", "color", 1))
        assert (ground > 200 and ink < 60) if scheme == "light" else (ground < 60 and ink > 200)


def test_screenshots_are_of_the_page_on_a_screen_and_on_a_phone(
    platform: Platform, page: str, tmp_path: Path
) -> None:
    paths = screenshots(platform, page, tmp_path)
    assert [path.name for path in paths] == ["status.png", "status-phone.png", "alerts.png"]
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        width = int.from_bytes(content[16:20], "big")
        assert width == (780 if path.name == "status-phone.png" else 1200)


def test_a_service_that_hangs_is_the_headline_within_seconds(page: str, tab: Tab) -> None:
    tab.open(page)
    [address] = (
        process["address"]
        for service in httpx.get(f"{page}/status.json", trust_env=False).json()["services"]
        for process in service["processes"]
        if service["name"] == "archiver"
    )
    process = listening(int(address.rpartition(":")[2]))
    process.suspend()
    try:
        tab.wait("document.querySelector('#running').innerText.includes('no answer')")
        assert "No archiver answers: it does not answer in time." in text(tab, ".verdict")
        assert tab.complaints == []
    finally:
        process.resume()
    tab.wait("!document.querySelector('#running').innerText.includes('no answer')")


def listening(port: int) -> psutil.Process:
    [pid] = {
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    }
    return psutil.Process(pid)
