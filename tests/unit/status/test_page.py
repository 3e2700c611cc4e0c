"""The page as a text: what stands on it, and that nothing on it can be made to do anything else."""

import re
from html.parser import HTMLParser

import pytest

from reprise.routing import RoutingReport
from reprise.status.page import CONTENT_SECURITY_POLICY, SCRIPT, STYLE, render, render_waiting
from reprise.status.report import Report
from reprise.status.scrape.exposition import parse
from support.seen_platform import (
    DIGEST,
    OTHER,
    exposed,
    healthy,
    look,
    predictor,
    process,
    reported,
    routed,
    silent,
)

HOSTILE = "<script>alert('1')</script><img src=x onerror=alert(2)>&\"'"


class Reader(HTMLParser):
    """Reads which elements a page has, its text, and whether every element is closed."""

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text += data


def text_of(report: Report, documentation: str = "") -> str:
    return " ".join(Reader(render(report, documentation)).text.split())


@pytest.fixture
def well() -> Report:
    return reported(healthy(0), healthy(5), healthy(10))


def test_page_says_in_words_and_numbers_how_the_platform_is(well: Report) -> None:
    text = text_of(well)
    assert "Everything is ready." in text
    for told in ("20/s", "10/s", "ab12ab12ab12", "0.830", "on events until 2026-09-21 00:00 UTC"):
        assert told in text, told
    assert "No rollout is applied" in text


def test_every_curve_is_drawn(well: Report) -> None:
    drawn = [attributes.get("data-points") for _, attributes in Reader(render(well, "")).elements]
    points = [int(number) for number in drawn if number]
    assert len(points) == 6
    assert min(points) >= 2


def test_what_is_not_known_is_said_with_its_reason() -> None:
    text = text_of(reported(healthy(0, predictor=[silent()])))
    assert "No predictor answers: it refuses the connection." in text
    assert "not known no predictor answers" in text
    assert "not known: no Pushgateway is configured" in text
    assert "Parity is not known: no Pushgateway is configured." in text


def test_findings_lead_to_the_runbook() -> None:
    report = reported(healthy(0, producer=[silent()]))
    elements = Reader(render(report, "https://example.com/reprise/")).elements
    links = [attributes["href"] for tag, attributes in elements if tag == "a"]
    assert "https://example.com/reprise/docs/operations.md#a-service-is-not-ready" in links
    assert "What to do: docs/operations.md, “a service is not ready”" in text_of(report)


def test_several_processes_and_arms_are_told_each() -> None:
    arms = (("baseline", DIGEST, 9000), ("deeper", OTHER, 1000))
    pods = [process(predictor(), f"10.0.0.{n}:9090", routing=routed(4, *arms)) for n in (1, 2)]
    pods.append(process(predictor(), "10.0.0.3:9090", routing=routed(4, *arms), reason="no model"))
    text = text_of(reported(healthy(0, predictor=pods)))
    assert "2 of 3 ready" in text
    for told in ("10.0.0.1:9090", "10.0.0.3:9090", "no model", "90% of users", "10% of users", "deeper"):
        assert told in text, told
    assert "Generation 4 of shop/model, applied by 3 of 3 predictors." in text


def test_nothing_that_a_service_tells_becomes_markup() -> None:
    hostile = {f'reprise_predictor_model_info{{digest="{_label(HOSTILE)}",plan_hash="",schema_hash=""}}': 1.0}
    refusing = RoutingReport(generation=None, fingerprint=None, rollout=HOSTILE, arms=(), refused=HOSTILE)
    jobs = parse(exposed({'reprise_job_end_timestamp_seconds{job="reprise-trainer"}': 1}))
    services = {
        "predictor": [process({"reprise_ready": 1, **hostile}, HOSTILE, reason=HOSTILE, routing=refusing)],
        "archiver": [silent(HOSTILE, HOSTILE), silent(HOSTILE, HOSTILE)],
    }
    page = render(reported(look(0, services, jobs=jobs)), "").replace(SCRIPT, "").replace(STYLE, "")
    reader = Reader(page)
    assert "alert('1')" in reader.text
    assert [tag for tag, _ in reader.elements].count("script") == 1
    assert not [tag for tag, _ in reader.elements if tag == "img"]
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def test_ids_of_users_never_appear() -> None:
    # A service that labelled a series with an id would be a fault of its own; the page does not pass it on.
    leaking = {
        'reprise_predictor_requests_total{endpoint="/features/u-4711",outcome="ok",user="u-4711"}': 5.0
    }
    first = healthy(0, predictor=[process(predictor(**leaking))])
    report = reported(first, healthy(5, predictor=[process(predictor(100, **leaking))]))
    assert "4711" not in render(report, "")
    assert "4711" not in report.model_dump_json()


def test_policy_lets_run_what_is_on_the_page_and_nothing_else(well: Report) -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
    elements = Reader(render(well, "")).elements
    # what the policy would refuse
    assert not [attributes for _, attributes in elements if "style" in attributes]
    fetched = [attributes.get("src") or "" for _, attributes in elements] + [
        attributes.get("href") or "" for tag, attributes in elements if tag == "link"
    ]
    assert all(address in {""} or address.startswith("data:") for address in fetched)


def test_style_and_script_stand_on_the_page_as_the_policy_has_them_and_it_refreshes_without_scripts(
    well: Report,
) -> None:
    page = render(well, "")
    assert re.findall(r"<style>(.*?)</style>", page, re.DOTALL) == [STYLE]
    assert re.findall(r"<script>(.*?)</script>", page, re.DOTALL) == [SCRIPT]
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page
    assert f"<style>{STYLE}</style>" in render_waiting()
    assert '<meta http-equiv="refresh" content="1">' in render_waiting()


def test_no_text_is_smaller_than_fourteen_pixels() -> None:
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:\d+ )?([.\d]+)rem", STYLE)]
    assert len(sizes) > 5
    assert min(sizes) >= 0.875
