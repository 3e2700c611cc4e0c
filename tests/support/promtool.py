"""Prometheus's own programs, where the machine has them (Debian's package ``prometheus``)."""

import shutil
import subprocess
from collections.abc import Sequence

import pytest

MISSING = "promtool is not installed (Debian's package prometheus)"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason=MISSING)


def promtool(arguments: Sequence[str], given: str = "") -> str:
    """Run promtool and return what it printed; fails the test where it is not content."""
    found = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, text=True, check=False, timeout=60
    )
    said = found.stdout + found.stderr
    assert found.returncode == 0, f"promtool {' '.join(arguments)}:\n{said}"
    return said
