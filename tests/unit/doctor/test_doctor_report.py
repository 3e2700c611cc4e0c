import io
import re
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from rich.console import Console

from reprise.doctor.check import CheckResult, Remedy
from reprise.doctor.checks import canary, event_log, feast_registry, model, redis, services
from reprise.doctor.main import command
from reprise.doctor.report import all_passed, print_table, to_json

ROOT = Path(__file__).parents[3]
WELL = CheckResult("log", "ok", "Kafka at k:9092, brokers: 3", 0.25)
BROKEN = CheckResult(
    "redis", "failed", "no answer [in time]", 2.0, Remedy("see whether it runs", "the-online-store-is-away")
)
LEFT_OUT = CheckResult("feast", "skipped", "no registry is named")


def printed(*results: CheckResult) -> str:
    out = io.StringIO()
    print_table(results, Console(file=out))
    return out.getvalue()


def test_every_check_has_a_line_and_what_failed_says_what_to_do() -> None:
    lines = [line.split() for line in printed(WELL, BROKEN, LEFT_OUT).splitlines()]
    assert lines[1][:3] == ["log", "ok", "0.2"]
    assert lines[2][:2] == ["redis", "failed"]
    text = printed(WELL, BROKEN, LEFT_OUT)
    assert "no answer [in time]" in text
    assert "→ see whether it runs" in text
    assert "docs/operations.md#the-online-store-is-away" in text
    assert text.rstrip().endswith("1 ok, 1 failed, 1 skipped")


def test_json_has_the_same_and_whether_all_is_well() -> None:
    measured = CheckResult("canary", "ok", "fast", 1.0, measured={"freshness_seconds": 0.01})
    said = orjson.loads(to_json([WELL, BROKEN, measured]))
    assert said["ok"] is False
    assert said["checks"][0] == {"name": "log", "status": "ok", "seen": WELL.found, "seconds": 0.25}
    assert said["checks"][1]["advice"] == "see whether it runs"
    assert said["checks"][1]["runbook"] == "docs/operations.md#the-online-store-is-away"
    assert said["checks"][2]["measured"] == {"freshness_seconds": 0.01}


@pytest.mark.parametrize(
    ("results", "well"), [([WELL, LEFT_OUT], True), ([WELL, BROKEN], False), ([LEFT_OUT], False), ([], False)]
)
def test_all_is_well_where_something_was_checked_and_nothing_failed(
    results: list[CheckResult], well: bool
) -> None:
    assert all_passed(results) is well


def test_every_section_that_is_referred_to_is_in_the_runbook() -> None:
    sections = {
        value.section
        for module in (canary, event_log, feast_registry, model, redis, services)
        for value in vars(module).values()
        if isinstance(value, Remedy)
    }
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert len(sections) > 8
    assert sections <= anchors


def test_a_check_that_is_not_known_is_an_error_that_names_those_that_are() -> None:
    done = CliRunner(env={"REPRISE_PROGRESS": "off"}).invoke(command, ["--only", "cafka"])
    assert done.exit_code == 1
    assert "no check is called cafka; there are log, topics, redis" in done.output
