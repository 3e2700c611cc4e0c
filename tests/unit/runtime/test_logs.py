import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from reprise.runtime.logs import configure_logging, get_logger
from support.logs import reset_logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    reset_logs()


def test_event_is_one_json_line_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", json=True)
    get_logger("reprise.test").info("model_loaded", digest="abc", seconds=0.5)
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    named = {"event": "model_loaded", "logger": "reprise.test", "level": "info"}
    assert line == named | {"digest": "abc", "seconds": 0.5}


def test_record_of_another_library_has_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", json=True)
    logging.getLogger("uvicorn.error").warning("shutting %s", "down", extra={"pod": "a"})
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "shutting down"
    assert line["pod"] == "a"


def test_exception_is_a_field_of_the_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", json=True)
    try:
        int("broken")
    except ValueError:
        get_logger("reprise.test").exception("it_failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["exception"][0]["exc_type"] == "ValueError"


@pytest.mark.parametrize("json", [True, False])
def test_tracebacks_have_no_values_of_variables(json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", json=json)
    user = "-".join(["user", "17"])
    try:
        int(user[:4])
    except ValueError:
        get_logger("reprise.test").exception("it_failed")
    assert "invalid literal" in (written := capsys.readouterr().err)
    assert user not in written


def test_events_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING")
    get_logger("reprise.test").info("chatter")
    get_logger("reprise.test").warning("started")
    assert json.loads(capsys.readouterr().err)["event"] == "started", "no terminal means JSON"


def test_level_of_a_running_process_changes_to_debug_and_back_by_a_signal() -> None:
    program = """
import os, signal
from reprise.runtime.logs import configure_logging, get_logger
configure_logging("warning", json=True)
log = get_logger("shop")
for moment in ("before", "while", "after"):
    log.debug(moment)
    os.kill(os.getpid(), signal.SIGUSR1)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    events = [json.loads(line) for line in said.splitlines()]
    assert [
        (event["event"], event.get("level")) for event in events if event["event"] != "log_level_changed"
    ] == [("while", "debug")]
    assert len(events) == 4
