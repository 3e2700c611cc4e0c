"""The demo's processes die with it."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

TREE = """
import sys, time
from pathlib import Path
from reprise.cli.demo.processes import ProcessTree
with ProcessTree(Path(sys.argv[1])) as tree:
    for number in range(4):
        tree.start(f"child-{number}", ["sleep", "600"])
    print("started", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_when_the_demo_is_killed_or_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    demo = subprocess.Popen([sys.executable, "-c", TREE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with demo:
        assert demo.stdout.readline() == "started\n"
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) == 4
        demo.send_signal(number)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
