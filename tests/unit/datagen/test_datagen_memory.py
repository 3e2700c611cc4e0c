"""How much memory a history takes while it is made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *options],
            cwd=tmp_path,
            env={**os.environ, "REPRISE_PROGRESS": "off"},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout.split("peak ")[1]) / 1024

    assert peak_mib(2_000_000) - peak_mib(900_000) < 40
