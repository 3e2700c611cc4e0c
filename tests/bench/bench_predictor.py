"""The predictor against the service one would write first, and against an endpoint that does nothing.

Each server has the first processor to itself; the load, and Redis, have the second. ``make bench BENCH=predictor``
runs it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import httpx

from bench.serving_fixtures import Prepared, prepare
from bench.standalone import processor_seconds
from bench.wrk import bearable_connections, load, paced, rate_of, start_wrk
from reprise.bundle import BundleStore
from reprise.cli.demo.processes import free_port
from reprise.routing import RoutingDocument, Share, allocate, document_key
from support.redis import RedisServer, running_redis

BENCH = Path(__file__).parent
SERVER_CORE, LOAD_CORE = "0", "1"
ROUNDS = 3
BATCH = 1000
BATCHES = 100
RANKED = 100
RANKINGS = 200
REQUIRED = {
    "times_straightforward": 40.0,
    "share_of_empty_endpoint": 0.5,
    "share_of_rate_with_prediction_log": 0.75,
    "batch_processor_times_straightforward": 25.0,
}
"""The least of each judged figure. All are ratios within a run, so that they hold on a slow machine too."""


def run(*, users: int = 1000, days: int = 180, seconds: float = 3.0) -> dict[str, Any]:
    """Measure everything in one run.

    Args:
        users: Size of the history.
        days: Its length.
        seconds: How long each round of load takes.

    Returns:
        The figures, what is required of them, the names of those that fall short, and why the parts that failed did.
    """
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name, running_redis() as redis:
        folder = Path(name)
        _say(f"history of {users:,} users, model, stores")
        prepared = prepare(folder, redis, users, days)
        _say("starting the servers")
        _pin(redis)
        figures, failed = _measure(folder, prepared, redis, seconds)
    missed = [name for name, least in REQUIRED.items() if name in figures and figures[name] < least]
    return {"figures": figures, "required": REQUIRED, "missed": missed, "failed": failed}


def _measure(
    folder: Path, prepared: Prepared, redis: RedisServer, seconds: float
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the figures of the parts that could be measured, and why the others could not."""
    bodies = folder / "bodies.txt"
    bodies.write_text("\n".join(json.dumps(request) for request in prepared.requests))
    environment = {
        "REDIS_HOST": redis.host,
        "REDIS_PORT": str(redis.port),
        "MODEL_STORE": str(prepared.models),
        "STRAIGHTFORWARD_FOLDER": str(prepared.straightforward),
        "FEAST_USAGE": "False",
        # Threads of numerical libraries on one processor only get into each other's way.
        "OMP_NUM_THREADS": "1",
    }
    figures: dict[str, float] = {}
    failed: dict[str, str] = {}

    def part(name: str, measure: Callable[[], Mapping[str, float]]) -> None:
        _say(name)
        try:
            figures.update(measure())
        except (RuntimeError, subprocess.SubprocessError, httpx.HTTPError, OSError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
            print(f"  failed: {name}: {failed[name]}", file=sys.stderr, flush=True)

    with ExitStack() as stack:
        running: dict[str, _Running] = {}

        def start(name: str, arguments: list[str]) -> dict[str, float]:
            running[name] = stack.enter_context(_server(name, arguments, folder, environment))
            return {f"{name}_ready_seconds": running[name].ready_seconds}

        for name, arguments in {
            "predictor": _predictor(),
            "straightforward": _uvicorn("straightforward_service"),
            "empty_endpoint": _uvicorn("empty_endpoint"),
        }.items():
            part(f"starting {name}", partial(start, name, arguments))
        loads = {name: _SingleLoad(name, server) for name, server in running.items()}
        for name, single in loads.items():
            part(f"warming {name}", partial(single.warm, prepared.requests))
        # The rounds take turns, so that what else the machine does disturbs all servers alike.
        for number, (name, single) in product(range(1, ROUNDS + 1), loads.items()):
            what = f"single predictions, round {number} of {ROUNDS}: {name}"
            part(what, partial(single.round, bodies, seconds))
        half = figures.get("predictor_per_second", 0.0) / 2
        if half:
            port = running["predictor"].port
            part("single predictions at half of the rate", partial(_at_half, port, bodies, half, seconds))
        for name in running.keys() & {"predictor", "straightforward"}:
            part(f"batches: {name}", partial(_batches, name, running[name], prepared.requests))
            part(f"rankings: {name}", partial(_rankings, name, running[name], prepared.requests))
        if "predictor" in running:
            resident = partial(_sample, running["predictor"].port, "process_resident_memory_bytes")
            part("memory", lambda: {"predictor_rss_mib": resident() / 2**20})
    part("the model alone", partial(_model_call, prepared.models))
    part("two processes against one", partial(_processes, folder, environment, bodies, seconds))
    part(
        "a rollout of two arms, and one with a shadow",
        partial(_rollout, folder, environment, redis, prepared.models, bodies, seconds),
    )
    if half:
        part(
            "single predictions with the prediction log",
            partial(_with_log, folder, environment, bodies, seconds, half),
        )
    return figures | _ratios(figures), failed


_RATIOS = {
    "times_straightforward": ("predictor_per_second", "straightforward_per_second"),
    "share_of_empty_endpoint": ("predictor_per_second", "empty_endpoint_per_second"),
    "share_of_rate_with_prediction_log": ("predictor_with_prediction_log_per_second", "predictor_per_second"),
    "batch_client_times_straightforward": ("straightforward_batch_client_ms", "batch_client_ms"),
    "batch_processor_times_straightforward": ("straightforward_batch_processor_ms", "batch_processor_ms"),
    "ranking_processor_times_straightforward": (
        "straightforward_ranking_processor_ms",
        "ranking_processor_ms",
    ),
}


def _ratios(figures: Mapping[str, float]) -> dict[str, float]:
    return {
        name: figures[one] / figures[other]
        for name, (one, other) in _RATIOS.items()
        if one in figures and other in figures
    }


@dataclass
class _SingleLoad:
    """Rounds of single predictions by one server."""

    name: str
    server: _Running
    connections: int = 1
    rates: list[float] = field(default_factory=list)
    spent_us: list[float] = field(default_factory=list)

    def warm(self, requests: list[dict[str, Any]]) -> dict[str, float]:
        """Send some requests one after the other, and choose the number of connections by the later ones."""
        taken = []
        with httpx.Client(timeout=60) as client:
            for request in requests[:30]:
                start = time.perf_counter()
                client.post(f"http://127.0.0.1:{self.server.port}/predict", json=request).raise_for_status()
                taken.append(time.perf_counter() - start)
        self.connections = bearable_connections(statistics.median(taken[10:]))
        return {f"{self.name}_connections": self.connections}

    def round(self, bodies: Path, seconds: float) -> dict[str, float]:
        before = self.server.processor_seconds()
        rate, answered = load(self.server.port, bodies, seconds, LOAD_CORE, self.connections)
        self.rates.append(rate)
        self.spent_us.append((self.server.processor_seconds() - before) / answered * 1e6)
        return {
            f"{self.name}_per_second": statistics.median(self.rates),
            f"{self.name}_processor_us": statistics.median(self.spent_us),
        }


def _at_half(port: int, bodies: Path, half: float, seconds: float) -> dict[str, float]:
    rounds = [paced(port, bodies, half, 2 * seconds, LOAD_CORE) for _ in range(ROUNDS)]
    return {
        "p50_ms_at_half_rate": statistics.median(each["p50_ms"] for each in rounds),
        "p99_ms_at_half_rate": statistics.median(each["p99_ms"] for each in rounds),
        "sent_at_half_rate_per_second": statistics.median(each["per_second"] for each in rounds),
    }


def _say(what: str) -> None:
    print(f"  {what} …", file=sys.stderr, flush=True)


def _predictor() -> list[str]:
    return ["-c", "from reprise.predictor.main import command; command()", "--host", "127.0.0.1", "--port"]


def _uvicorn(module: str) -> list[str]:
    options = ["--host", "127.0.0.1", "--no-access-log", "--log-level", "warning", "--port"]
    return ["-m", "uvicorn", f"bench.{module}:app", *options]


@dataclass(frozen=True)
class _Running:
    port: int
    pid: int
    ready_seconds: float

    def processor_seconds(self) -> float:
        """Processor time so far, which a busy machine stretches less than the clock."""
        return processor_seconds(self.pid)


@contextmanager
def _server(
    name: str, arguments: list[str], folder: Path, environment: dict[str, str], core: str = SERVER_CORE
) -> Iterator[_Running]:
    port = free_port()
    log = folder / f"{name}-{port}.log"
    command = ["taskset", "-c", core, sys.executable, *arguments, str(port)]
    started = time.monotonic()
    variables = {**os.environ, **environment, "PYTHONPATH": str(BENCH.parent)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        give_up = time.monotonic() + 60
        path = "/ready" if name.startswith("predictor") else "/openapi.json"
        while not _answers(port, path):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{name} did not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield _Running(port, process.pid, time.monotonic() - started)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str) -> bool:
    # A client library would take more of the processor than the server that it waits for.
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(1024).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _pin(redis: RedisServer) -> None:
    with redis.client() as client:
        os.sched_setaffinity(client.info("server")["process_id"], {int(LOAD_CORE)})


def _batches(name: str, server: _Running, requests: list[dict[str, Any]]) -> dict[str, float]:
    """Time batches one at a time: what the client waits, and what the server's processor spends on them."""
    body = json.dumps({"requests": requests[:BATCH]}).encode()
    ours = name == "predictor"
    count = BATCHES if ours else BATCHES // 10
    figures = {}
    with httpx.Client(timeout=60, headers={"Content-Type": "application/json"}) as client:
        _batch(client, server.port, body)
        if ours:
            seconds, answered = _spent(server.port)
        processor = server.processor_seconds()
        taken = [_batch(client, server.port, body) for _ in range(count)]
        spent = (server.processor_seconds() - processor) / count
        if ours:
            seconds_after, answered_after = _spent(server.port)
            figures["batch_server_ms"] = (seconds_after - seconds) / (answered_after - answered) * 1e3
    prefix = "" if ours else f"{name}_"
    figures[f"{prefix}batch_client_ms"] = statistics.median(taken) * 1e3
    figures[f"{prefix}batch_processor_ms"] = spent * 1e3
    return figures


def _rankings(name: str, server: _Running, requests: list[dict[str, Any]]) -> dict[str, float]:
    """Time rankings of products for a user, one at a time; the straightforward service scores them as a batch."""
    products = list(dict.fromkeys(request["product_id"] for request in requests))[:RANKED]
    users = [request["user_id"] for request in requests]
    ours = name == "predictor"
    count = RANKINGS if ours else RANKINGS // 10
    taken = []
    with httpx.Client(timeout=60, base_url=f"http://127.0.0.1:{server.port}") as client:
        for number in range(count + 1):
            user = users[number]
            asked: dict[str, Any] = {"user_id": user, "product_ids": products}
            if not ours:
                asked = {"requests": [{"user_id": user, "product_id": each} for each in products]}
            start = time.perf_counter()
            client.post("/rank" if ours else "/predict/batch", json=asked).raise_for_status()
            taken.append(time.perf_counter() - start)
            if number == 0:
                processor = server.processor_seconds()
    spent = (server.processor_seconds() - processor) / count
    prefix = "" if ours else f"{name}_"
    return {
        f"{prefix}ranking_client_p50_ms": statistics.median(taken[1:]) * 1e3,
        f"{prefix}ranking_client_p99_ms": sorted(taken[1:])[int(0.99 * count)] * 1e3,
        f"{prefix}ranking_processor_ms": spent * 1e3,
    }


def _batch(client: httpx.Client, port: int, body: bytes) -> float:
    start = time.perf_counter()
    answer = client.post(f"http://127.0.0.1:{port}/predict/batch", content=body)
    taken = time.perf_counter() - start
    if answer.status_code != 200 or len(answer.json()["results"]) != BATCH:
        raise RuntimeError(f"a batch was not answered: {answer.text[:500]}")
    return taken


def _spent(port: int) -> tuple[float, float]:
    name = r'reprise_predictor_request_seconds_%s\{endpoint="/predict/batch"\}'
    return _sample(port, name % "sum"), _sample(port, name % "count")


def _model_call(models: Path) -> dict[str, float]:
    """Time the model alone, on one row, in a process that has the server's processor to itself."""
    program = (
        "import json, sys, time\n"
        "from reprise.bundle import BundleStore\n"
        "from reprise.bundle.scorer import Scorer\n"
        "store = BundleStore(sys.argv[1])\n"
        "bundle = store.fetch(store.latest())\n"
        "scorer, row, taken = Scorer.of(bundle), [1.0] * len(bundle.manifest.inputs), []\n"
        "for _ in range(20000):\n"
        "    start = time.perf_counter()\n"
        "    scorer.score_row(row)\n"
        "    taken.append(time.perf_counter() - start)\n"
        "taken = sorted(taken[2000:])\n"
        "p50, p99 = (taken[len(taken) * q // 100] * 1e6 for q in (50, 99))\n"
        "print(json.dumps({'model_call_p50_us': p50, 'model_call_p99_us': p99}))\n"
    )
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-c", program, str(models)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


def _processes(folder: Path, environment: dict[str, str], bodies: Path, seconds: float) -> dict[str, float]:
    """One process against two, all of them, the load and Redis on both processors, the load evenly split."""
    both = f"{SERVER_CORE},{LOAD_CORE}"
    with ExitStack() as stack:
        ports = [
            stack.enter_context(_server(f"predictor-{number}", _predictor(), folder, environment, both)).port
            for number in (1, 2)
        ]
        one, two = [], []
        for _ in range(ROUNDS):
            one.append(rate_of(start_wrk(ports[0], bodies, seconds, both))[0])
            together = [start_wrk(port, bodies, seconds, both) for port in ports]
            two.append(sum(rate_of(each)[0] for each in together))
    return {
        "one_process_on_two_cores_per_second": statistics.median(one),
        "two_processes_on_two_cores_per_second": statistics.median(two),
        "two_processes_against_one": statistics.median(two) / statistics.median(one),
    }


def _rollout(
    folder: Path, environment: dict[str, str], redis: RedisServer, models: Path, bodies: Path, seconds: float
) -> dict[str, float]:
    """What a rollout costs: half of the users in another arm, and all of them scored by a shadow as well.

    The other arm has the same model, so that only the routing itself is measured.
    """
    digest = BundleStore(str(models)).latest()
    plans = {
        "without_a_rollout": None,
        "with_two_arms": Share("other", digest, 5000),
        "with_a_shadow": Share("other", digest, 0, shadow=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in plans}
    with ExitStack() as stack, redis.client() as client:
        ports = {}
        for name, share in plans.items():
            if share is not None:
                arms = allocate(digest, [share], {})
                document = RoutingDocument(generation=1, rollout="bench/bench", salt="bench", arms=arms)
                client.set(document_key("reprise"), document.to_bytes())
            # It is read at the start and never again, so that each server keeps its own.
            own = {**environment, "PREDICTOR_ROUTING_SECONDS": "0" if share is None else "3600"}
            ports[name] = stack.enter_context(_server(f"predictor-{name}", _predictor(), folder, own)).port
        client.delete(document_key("reprise"))
        for _ in range(ROUNDS):
            for name, port in ports.items():
                rates[name].append(load(port, bodies, seconds, LOAD_CORE)[0])
    per_second = {name: statistics.median(found) for name, found in rates.items()}
    alone = per_second["without_a_rollout"]
    return {
        "share_of_rate_with_two_arms": per_second["with_two_arms"] / alone,
        "share_of_rate_with_a_shadow": per_second["with_a_shadow"] / alone,
    }


def _with_log(
    folder: Path, environment: dict[str, str], bodies: Path, seconds: float, half: float
) -> dict[str, float]:
    logged = {**environment, "PREDICTOR_PREDICTION_LOG": "true", "REPRISE_LOG_DIR": str(folder / "log")}
    with _server("predictor-logging", _predictor(), folder, logged) as server:
        rate = statistics.median(load(server.port, bodies, seconds, LOAD_CORE)[0] for _ in range(ROUNDS))
        while _sample(server.port, "reprise_predictor_log_waiting"):
            time.sleep(0.1)
        dropped = r'reprise_predictor_logged_total\{outcome="dropped"\}'
        before = _sample(server.port, dropped)
        at_half = _at_half(server.port, bodies, half, seconds)
        lost = _sample(server.port, dropped) - before
    return {
        "predictor_with_prediction_log_per_second": rate,
        "p99_ms_at_half_rate_with_prediction_log": at_half["p99_ms_at_half_rate"],
        "dropped_at_half_rate_with_prediction_log": lost,
    }


def _sample(port: int, series: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    found = re.search(rf"^{series} (\S+)", text, re.MULTILINE)
    assert found is not None
    return float(found[1])
