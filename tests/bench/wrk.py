"""wrk, and what it says of a load."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

CONNECTIONS = 32
PACED_CONNECTIONS = 64
WAIT_SECONDS = 0.25
TIMEOUT_SECONDS = 30
SCRIPT = Path(__file__).with_name("predict.lua")


def bearable_connections(request_seconds: float) -> int:
    """Return how many connections wait at most ``WAIT_SECONDS`` for a server that needs this long for one request.

    More would make a slow server no faster, and let its clients time out.
    """
    return max(1, min(CONNECTIONS, int(WAIT_SECONDS / request_seconds)))


def start_wrk(
    port: int,
    bodies: Path,
    seconds: float,
    core: str,
    *,
    connections: int = CONNECTIONS,
    rate: float | None = None,
) -> subprocess.Popen[str]:
    """Start a load on a core: as many requests as are answered, or ``rate`` requests a second."""
    options = ["-t1", f"-d{max(1, round(seconds))}s", f"--timeout={TIMEOUT_SECONDS}s", "--latency"]
    options += [f"-c{connections if rate is None else PACED_CONNECTIONS}", "-s", str(SCRIPT)]
    command = ["taskset", "-c", core, "wrk", *options, f"http://127.0.0.1:{port}"]
    variables = {**os.environ, "BODIES": str(bodies), **({} if rate is None else {"RATE": str(rate)})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)


def _finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=120)
    if process.returncode or "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"the load was not answered as it should be:\n{output}")
    return output


def rate_of(process: subprocess.Popen[str]) -> tuple[float, int]:
    """Return requests a second, and how many were answered."""
    output = _finished(process)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    answered = re.search(r"(\d+) requests in", output)
    if rate is None or answered is None:
        raise RuntimeError(f"wrk said no rate:\n{output}")
    if int(answered[1]) == 0:
        raise RuntimeError(f"nothing was answered in time:\n{output}")
    return float(rate[1]), int(answered[1])


def load(
    port: int, bodies: Path, seconds: float, core: str, connections: int = CONNECTIONS
) -> tuple[float, int]:
    """Return requests a second, as many as there can be, and how many were answered."""
    return rate_of(start_wrk(port, bodies, seconds, core, connections=connections))


def paced(port: int, bodies: Path, rate: float, seconds: float, core: str) -> dict[str, float]:
    """Quantiles of the time that an answer takes when so many are asked for a second."""
    output = _finished(start_wrk(port, bodies, seconds, core, rate=rate))
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    found = {
        f"p{q}_ms": float(n) * units[u] for q, n, u in re.findall(r"(\d+)% +([\d.]+)(us|ms|s)\n", output)
    }
    sent = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if sent is None or not {"p50_ms", "p99_ms"} <= found.keys():
        raise RuntimeError(f"wrk said no quantiles:\n{output}")
    return {"p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"], "per_second": float(sent[1])}
