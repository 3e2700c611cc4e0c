"""Run benchmarks and keep their numbers: ``PYTHONPATH=tests python tests/bench/run.py [name…]``.

A benchmark is a ``bench_<name>.py`` in this folder with a function ``run()`` that returns its numbers, nested as it
likes. Each runs in a process of its own, so that one's memory is not another's; the numbers go to
``build/bench.json`` under the benchmark's name, beside those measured before.
"""

import importlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "build" / "bench.json"


def benchmarks() -> dict[str, Path]:
    return {
        path.stem.removeprefix("bench_"): path
        for path in sorted(HERE.glob("bench_*.py"))
        if "\ndef run(" in path.read_text()
    }


def measure(path: Path, out: Path) -> None:
    out.write_text(json.dumps(importlib.import_module(f"bench.{path.stem}").run()))


def kept() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(name: str, numbers: Any) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**kept(), name: numbers}, indent=2, sort_keys=True) + "\n")


def machine() -> dict[str, str | int]:
    """Return what the numbers were measured on."""
    described = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*: (.*)$", described, re.MULTILINE)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def lines(numbers: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield every number with the way to it."""
    if isinstance(numbers, Mapping):
        for key, value in numbers.items():
            yield from lines(value, f"{name}.{key}")
    else:
        yield name, f"{numbers:,}" if isinstance(numbers, int | float) else str(numbers)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks named, or all; the exit status is 1 if one of them failed."""
    if arguments[:1] == ["--measure"]:
        measure(Path(arguments[1]), Path(arguments[2]))
        return 0
    known = benchmarks()
    unknown = [name for name in arguments if name not in known]
    if unknown:
        print(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    environment = {**os.environ, "REPRISE_PROGRESS": "off"}
    chosen = list(arguments or known)
    for number, name in enumerate(chosen, 1):
        print(f"{name} ({number} of {len(chosen)}) …", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "numbers.json"
            command = [sys.executable, __file__, "--measure", str(known[name]), str(out)]
            if subprocess.run(command, check=False, env=environment).returncode != 0:
                failed.append(name)
                continue
            numbers = json.loads(out.read_text())
        keep(name, numbers)
        keep("machines", {**kept().get("machines", {}), name: machine()})
        if isinstance(numbers, Mapping) and (numbers.get("failed") or numbers.get("missed")):
            failed.append(name)
        print(f"  took {time.monotonic() - started:.0f} s")
        for what, value in lines(numbers, name):
            print(f"  {what:<70} {value:>14}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    print(f"numbers are in {RESULTS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
