"""The demo, told to stop at some moment, leaves no process and no broken file behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from support.waiting import wait_until

ROOT = Path(__file__).parents[3]
SMALL = ["--users", "150", "--products", "30", "--days", "150", "--live", "1"]


def start_demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "REPRISE_PROGRESS": "off"}
    command = [sys.executable, "-m", "reprise.cli", "demo", "--exit", "--folder", str(folder), *SMALL]
    return subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for(demo: subprocess.Popen[str], words: str) -> None:
    """Read what the demo says until it says this."""
    assert demo.stdout is not None
    said = []
    for line in demo.stdout:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"the demo ended with status {demo.wait()} before {words!r}:\n{''.join(said)}")


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize(
    ("seen", "number"),
    [
        ("making a history", signal.SIGTERM),
        pytest.param("discovering", signal.SIGINT, marks=pytest.mark.soak),
        pytest.param("streaming live", signal.SIGINT, marks=pytest.mark.soak),
    ],
)
def test_a_signal_at_any_step_stops_everything(tmp_path: Path, seen: str, number: signal.Signals) -> None:
    demo = start_demo(tmp_path / "demo")
    wait_for(demo, seen)
    children = wait_until("the step's process runs", lambda: descendants(demo), 30, every=0.05)
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "nothing is left running" in output
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert [path for path in tmp_path.rglob("*") if ".partial" in path.name] == []


@pytest.mark.soak
def test_killing_the_demo_outright_takes_its_processes_along(tmp_path: Path) -> None:
    demo = start_demo(tmp_path / "demo")
    wait_for(demo, "streaming live")
    children = descendants(demo)
    assert len(children) >= 4
    demo.kill()
    demo.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


@pytest.mark.soak
def test_a_step_that_fails_says_which_and_why(tmp_path: Path) -> None:
    broken = tmp_path / "definitions.py"
    broken.write_text("DEFINITION = None\n")
    demo = start_demo(tmp_path / "demo", "--definitions", str(broken))
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 1
    assert "features-plan ended with status 1" in output
    assert "must define DEFINITION" in output
