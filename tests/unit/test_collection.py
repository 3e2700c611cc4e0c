"""What the rules of ``support.collection`` do, on a few tests in a folder of their own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1]


def run(folder: Path, tests: str, *options: str, before: Callable[[], object] | None = None) -> str:
    """Return what pytest prints of a file of tests; a failed test fails the caller."""
    (folder / "test_it.py").write_text(f"import pytest\n\n{tests}")
    plugins = ("-p", "no:cacheprovider", "-p", "support.collection")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        os.devnull,
        "--rootdir",
        folder,
        *plugins,
        "-v",
        *options,
    ]
    variables = {"PYTHONPATH": str(SUPPORT), "REPRISE_SOAK": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [*command, "test_it.py"],
        cwd=folder,
        env={**os.environ, **variables},
        preexec_fn=before,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


TESTS = """
import pathlib, subprocess, sys, support.collection
support.collection.FLAKY_PAGE = pathlib.Path("flaky.md")

def test_child():
    child = "import signal; assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    subprocess.run([sys.executable, "-c", child], check=True)

@pytest.mark.soak
def test_soak():
    assert False

@pytest.mark.flaky("Slow answer")
def test_flaky():
    assert False
"""


def test_ignored_sigint_is_not_inherited_soak_is_left_out_and_flaky_tests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "flaky.md").write_text("## Slow answer\n")
    output = run(tmp_path, TESTS, before=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert "1 passed, 1 deselected, 1 xfailed" in output
    assert "1 quarantined (docs/flaky.md), 1 of them failed" in output


def test_quarantined_test_needs_an_issue(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"docs/flaky\.md has no heading 'nothing'"):
        run(tmp_path, "@pytest.mark.flaky('nothing')\ndef test_it():\n assert False")


def test_files_of_one_group_run_in_one_worker(tmp_path: Path) -> None:
    folder = tmp_path / "tests/integration/kafka"
    folder.mkdir(parents=True)
    for name in "abcd":
        (folder / f"test_{name}.py").write_text("def test_it():\n pass\n")
    options = ("-p", "xdist", "--numprocesses", "2", "--dist", "loadscope")
    output = run(tmp_path, "def test_other():\n pass", *options, "tests")
    workers = re.findall(r"^\[(gw\d)\].*PASSED tests/integration/kafka/", output, re.MULTILINE)
    assert len(workers) == 4, output
    assert len(set(workers)) == 1
