"""The datagen command as a person runs it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from reprise.datagen.main import command

SMALL = ["--users", "200", "--products", "30"]


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("named", "out"),
    [([], "historical_events.csv"), (["h.parquet"], "h.parquet"), (["--out", "h.csv"], "h.csv")],
)
def test_the_file_is_an_argument_or_an_option_or_a_csv_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: list[str], out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, said = run(*SMALL, "--events", "1234", *named)
    assert status == 0
    assert f"{out}: 1,234 events, " in said
    assert [path.name for path in tmp_path.iterdir()] == [out]


def test_a_start_may_be_a_date_or_an_instant_with_an_offset(tmp_path: Path) -> None:
    for name, start in (("a", "2025-06-01"), ("b", "2025-06-01T02:00+02:00")):
        assert run(*SMALL, "--days", "2", "--start", start, tmp_path / f"{name}.csv")[0] == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--days", "3", "--events", "5"], "not both"),
        (
            ["--horizon", "200d", "--truth", "t.csv"],
            "horizon: expected more than 0, up to 180 days, got 200 days",
        ),
        (["--start", "yesterday"], "2026-01-31"),
        (["--start", "1999-01-01"], "2006-01-01"),
        (["--users", "0"], "--users"),
        (["h.txt"], ".csv or .parquet"),
        (["h.csv", "--out", "h.csv"], "not as both"),
    ],
)
def test_a_wrong_option_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, output = run(*arguments)
    assert status != 0
    assert said in output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGTERM])
def test_a_stopped_run_leaves_the_old_file_and_no_other(tmp_path: Path, stop: signal.Signals) -> None:
    (tmp_path / "h.parquet").write_text("old")
    code = "from reprise.datagen.main import command; command()"
    options = ["--start", "2026-01-01", "--events", "500000000", "--truth", "t.csv", "--report", "r.html"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "h.parquet", *options],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "REPRISE_PROGRESS": "off"},
    )
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 100_000 for path in tmp_path.glob(".t.*.partial.csv")):
        assert time.monotonic() < deadline, "the run did not begin to write"
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(stop)
    assert process.wait(30) != 0
    assert [path.name for path in tmp_path.iterdir()] == ["h.parquet"]
    assert (tmp_path / "h.parquet").read_text() == "old"


PEAK = """
import sys
from reprise.datagen.main import command
command(sys.argv[1:], standalone_mode=False)
status = open("/proc/self/status").read()
print("peak", status.split("VmHWM:")[1].split()[0])
"""


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the peak that Linux keeps in /proc")
@pytest.mark.parametrize("extension", ["parquet", "csv"])
def test_memory_does_not_grow_with_the_number_of_events(tmp_path: Path, extension: str) -> None:
    def peak_mib(events: int) -> float:
        size = ["--users", "2000", "--start", "2026-01-01", "--events", str(events)]
        options = [*size, "--truth", f"t.{extension}", f"h.{extension}"]
        command = [sys.executable, "-c", PEAK, *options]
        silent = {**os.environ, "REPRISE_PROGRESS": "off"}
        done = subprocess.run(command, cwd=tmp_path, env=silent, capture_output=True, text=True, check=True)
        return int(done.stdout.split("peak ")[1]) / 1024

    assert peak_mib(2_000_000) - peak_mib(900_000) < 40


def test_help_does_not_load_the_generator() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from reprise.datagen.main import command;"
        "print(CliRunner().invoke(command, ['--help']).output);"
        "assert not {'numpy', 'pyarrow', 'matplotlib'} & set(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--horizon" in shown
