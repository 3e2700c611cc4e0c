"""The tab of the nightly report: what the reader finds in an output, and what the application shows of it."""

import shutil
import threading
from functools import partial
from pathlib import Path

from fastapi.testclient import TestClient

from reprise.status.app import REPORT_PAGE, REPORT_TAB, create_app
from reprise.status.nightly_report import MAX_BYTES, REPORT, ReportReader
from reprise.status.page import REPORT_POLICY, REPORT_TAB_POLICY, render_report_tab
from reprise.status.settings import StatusSettings
from support.waiting import wait_until


async def nowhere(host: str, port: int) -> list[str]:
    return []


def client(scores: Path | None, **more: object) -> TestClient:
    places = {} if scores is None else {"scores": str(scores)}
    settings = {"targets": "producer=http://p:8001", "report_interval_seconds": 0.2, **places, **more}
    return TestClient(create_app(StatusSettings.load(**settings), nowhere))


def wait_for_tab(client: TestClient, text: str) -> str:
    page = ""

    def shown() -> bool:
        nonlocal page
        answer = client.get(REPORT_TAB)
        assert answer.status_code == 200
        page = answer.text
        return text in page

    wait_until(f"{text!r} is on the tab", shown, 20, every=0.05)
    return page


def read(reader: ReportReader) -> tuple[bytes | None, str | None]:
    reader.refresh()
    assert reader.latest.checked_at is not None
    return reader.latest.page, reader.latest.problem


def test_newest_report_is_read_and_an_unchanged_one_is_not_read_again(tmp_path: Path) -> None:
    reader = ReportReader(f"{tmp_path}/", 60)
    assert reader.latest.checked_at is None
    assert read(reader) == (None, None)
    (tmp_path / REPORT).write_bytes(b"first")
    first, problem = read(reader)
    assert (first, problem) == (b"first", None)
    assert read(reader)[0] is first
    (tmp_path / REPORT).write_bytes(b"second night")
    assert read(reader) == (b"second night", None)


def test_removed_report_is_no_longer_shown_and_shown_again_if_it_comes_back(tmp_path: Path) -> None:
    reader = ReportReader(str(tmp_path), 60)
    kept = tmp_path / "kept.html"
    kept.write_bytes(b"page")
    for _ in range(2):
        shutil.copy2(kept, tmp_path / REPORT)
        assert read(reader) == (b"page", None)
        (tmp_path / REPORT).unlink()
        assert read(reader) == (None, None)


def test_unreachable_output_is_named_and_leaves_the_last_report_in_place(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / REPORT).write_bytes(b"page")
    reader = ReportReader(str(out), 60)
    assert read(reader) == (b"page", None)
    out.rename(tmp_path / "away")
    out.write_bytes(b"a file where a folder was")
    page, problem = read(reader)
    assert page == b"page"
    assert f"could not read {out}/{REPORT}" in str(problem)
    out.unlink()
    (tmp_path / "away").rename(out)
    assert read(reader) == (b"page", None)


def test_output_of_an_unknown_kind_is_a_problem_and_not_an_end() -> None:
    assert "nowhere://bucket/scores" in str(read(ReportReader("nowhere://bucket/scores", 60))[1])


def test_too_large_report_is_refused_until_a_smaller_one_replaces_it(tmp_path: Path) -> None:
    reader = ReportReader(str(tmp_path), 60)
    (tmp_path / REPORT).write_bytes(b"x" * (MAX_BYTES + 1))
    for _ in range(2):
        page, problem = read(reader)
        assert page is None
        assert "8,388,608 bytes" in str(problem)
    (tmp_path / REPORT).write_bytes(b"x" * MAX_BYTES)
    assert read(reader) == (b"x" * MAX_BYTES, None)


def test_reader_ends_when_it_is_told_to(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    ReportReader(str(tmp_path), 3600).run(stop)


def test_tab_says_which_command_writes_a_report_and_shows_each_that_is_written(tmp_path: Path) -> None:
    with client(tmp_path, report_command="kubectl create <job>") as app:
        page = wait_for_tab(app, "No report yet")
        assert f"{tmp_path}/{REPORT}" in page
        assert "kubectl create &lt;job&gt;" in page
        assert "<iframe" not in page
        assert app.get(REPORT_PAGE).status_code == 404
        for night in (b"<p>first night", "<p>zweite Nacht: größer".encode()):
            (tmp_path / REPORT).write_bytes(night)
            shown = partial(lambda expected: app.get(REPORT_PAGE).content == expected, night)
            wait_until("it is shown", shown, 20, every=0.05)
        assert app.get(REPORT_PAGE).headers["content-type"] == "text/html; charset=utf-8"
        page = app.get(REPORT_TAB).text
        assert f'<iframe title="Nightly report" sandbox src="{REPORT_PAGE}"></iframe>' in page
        assert "Nacht" not in page


def test_tab_says_why_no_report_could_be_read(tmp_path: Path) -> None:
    out = tmp_path / "<out>"
    out.write_bytes(b"a file")
    with client(out) as app:
        page = wait_for_tab(app, "No report: could not read")
        assert f"{tmp_path}/&lt;out&gt;/{REPORT}" in page
        assert "No report yet" not in page


def test_tab_says_that_an_output_has_not_answered_yet(tmp_path: Path) -> None:
    page = render_report_tab(ReportReader(str(tmp_path), 60), "reprise nightly", "")
    assert f"{tmp_path}/{REPORT} has not answered yet" in page
    assert "No report yet" not in page


def test_a_report_may_be_framed_by_the_tab_alone_and_has_no_origin_and_no_scripts(tmp_path: Path) -> None:
    (tmp_path / REPORT).write_bytes(b"<script>alert(1)</script>")
    with client(tmp_path) as app:
        wait_for_tab(app, "<iframe")
        tab, report = app.get(REPORT_TAB).headers, app.get(REPORT_PAGE).headers
    assert tab.get_list("content-security-policy") == [REPORT_TAB_POLICY]
    assert (tab["x-frame-options"], report["x-frame-options"]) == ("DENY", "SAMEORIGIN")
    assert report.get_list("content-security-policy") == [REPORT_POLICY]
    directives = [each.strip() for each in REPORT_POLICY.split(";")]
    assert {"sandbox", "default-src 'none'", "frame-ancestors 'self'"} <= set(directives)
    assert "script-src" not in REPORT_POLICY + REPORT_TAB_POLICY


def test_both_pages_have_both_tabs_below_the_root_path(tmp_path: Path) -> None:
    with client(tmp_path, api_root_path="/reprise", interval_seconds=0.2) as app:
        wait_until("it has looked", lambda: app.get("/ready").status_code == 200, 20)
        current = {"/status": "Platform", REPORT_TAB: "Nightly report"}
        for path in current:
            page = app.get(f"/reprise{path}").text
            for address, label in current.items():
                chosen = ' aria-current="page"' if address == path else ""
                assert f'<a href="/reprise{address}"{chosen}>{label}</a>' in page


def test_without_an_output_there_is_no_tab() -> None:
    with client(None, interval_seconds=0.2) as app:
        wait_until("it has looked", lambda: app.get("/ready").status_code == 200, 20)
        assert REPORT_TAB not in app.get("/").text
        assert app.get(REPORT_TAB).status_code == 404
        assert app.get(REPORT_PAGE).status_code == 404


def test_a_reader_that_breaks_ends_the_process_rather_than_show_the_same_for_ever() -> None:
    ended: list[bool] = []
    settings = StatusSettings.load(targets="producer=http://p:8001", scores="not a path\0")
    app = create_app(settings, nowhere, lambda: ended.append(True))
    with TestClient(app):
        wait_until("it has ended", lambda: bool(ended), 20)
    assert isinstance(app.state.workers.failure, ValueError)
