"""The whole platform as processes of this machine, under a real Prometheus with the chart's rules."""

import math
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

from dashboards.panels import DASHBOARDS, Panel
from reprise.cli.demo import commands
from reprise.cli.demo.latency import wait_ready
from reprise.cli.demo.processes import ProcessTree, free_port
from reprise.log import PREDICTIONS
from support.observed_kafka import ObservedKafka, observed_kafka, why_no_kafka
from support.prometheus import Prometheus, Target, prometheus_command
from support.redis import RedisServer, running_redis
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "reprise" / "files" / "rules.yaml"
PLAN = ROOT / "feature_repo" / "plan" / "plan.json"
PROGRAMS = ("prometheus", "prometheus-pushgateway", "prometheus-redis-exporter", "redis-server")
"""What this needs on the machine, all of it Debian packages of these names."""

SHOP = commands.Shop(users=150, products=40, days=150, seed=7)
SERVICES = ("predictor", "producer", "materializer", "archiver")
_RATE = "15s"
_EVENTS_A_SECOND = 30.0
_ARCHIVED_SECONDS = 22.0  # so long apart are predictions archived whose outcomes are known
_SHOWN_SECONDS = 60.0
_PAIRS = 2_000
_BATCH = 100
_EVERY_SECONDS = 0.04
# The broker's page of metrics is long, and Prometheus, Kafka and the platform share the processors.
_KAFKA_INTERVAL = "5s"


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Traffic:
    """Asks for predictions, and for what cannot be answered, and sends broken events, until it is stopped.

    The users and products are those of a history.
    """

    def __init__(self, history: Path, predictor: str, producer: str) -> None:
        table = pq.read_table(history, columns=["user_id", "product_id"])
        self._pairs = table.to_pylist()[:: max(1, len(table) // _PAIRS)]
        self._predictor = predictor
        self._producer = producer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: Exception | None = None

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Let it flow until left."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(15)

    def check(self) -> None:
        """Raise the first failure that there was, if any; a platform that is broken on purpose has some."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        at = 0
        with httpx.Client(timeout=10, trust_env=False) as client:
            while not self._stop.wait(_EVERY_SECONDS):
                try:
                    self._ask(client, at)
                except httpx.HTTPError as error:
                    self._failure = self._failure or error
                at += 1

    def _ask(self, client: httpx.Client, at: int) -> None:
        self._predict(client, "/predict", self._pair(at))
        if at % 50 == 0:
            batch = {"requests": [self._pair(at + number) for number in range(_BATCH)]}
            self._predict(client, "/predict/batch", batch)
            client.post(f"{self._predictor}/predict", json={"user_id": "nobody", "product_id": "nothing"})
            client.post(f"{self._predictor}/predict", json={"user_id": 7})
            broken = {"user_id": "u", "product_id": "p", "event_type": "?"}
            client.post(f"{self._producer}/events", json=broken)

    def _predict(self, client: httpx.Client, path: str, body: dict[str, Any]) -> None:
        answer = client.post(f"{self._predictor}{path}", json=body)
        # A predictor that is late refuses and says when to come back, which is what the next request does.
        if answer.status_code != 503 or "retry-after" not in answer.headers:
            answer.raise_for_status()

    def _pair(self, at: int) -> dict[str, str]:
        pair: dict[str, str] = self._pairs[at % len(self._pairs)]
        return pair


@dataclass(frozen=True)
class Seen:
    """What a panel (of a dashboard) or an alert (of a group) shows: legends or labels, and numbers.

    ``state`` is why a panel is left out, or the alert's.
    """

    page: str
    title: str
    values: dict[str, float]
    state: str = ""
    problem: str = ""


@dataclass
class Platform:
    """Running services with traffic, and the Prometheus that watches them by the chart's rules.

    Without a broker the log is the embedded one; ``without_kafka`` says why there is none.
    """

    tree: ProcessTree
    paths: commands.DemoPaths
    ports: dict[str, int]
    redis: RedisServer
    kafka: ObservedKafka | None
    without_kafka: str
    traffic: Traffic = field(init=False)
    prometheus: Prometheus = field(init=False)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def log(self) -> dict[str, str]:
        """What a process needs to use the log."""
        return {"REPRISE_LOG_DIR": str(self.paths.log)} if self.kafka is None else self.kafka.environment

    def start(self, service: str) -> None:
        command, environment = _commands(self)[service]
        self.tree.serve(service, command, {**self.log, **environment}, self.ports[service])

    def run_job(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a job to its end; it pushes its metrics, and raises ``StepFailedError`` where it fails."""
        store = commands.redis_environment(self.redis.port)
        pushing = {"PUSHGATEWAY_URL": self.url("pushgateway")}
        return self.tree.run(name, arguments, {**store, **pushing, **(environment or {})})

    def judge(self, check_rows: int = 5_000) -> None:
        """Judge the predictions so far by what followed, within seconds instead of days."""
        places = ["--offline", str(self.paths.offline), "--model-store", str(self.paths.models)]
        history = ["--events", str(self.paths.history), "--out", str(self.paths.outcomes), "--no-publish"]
        soon = ["--horizon", "5s", "--early-horizon", "1s", "--exposure", "1s", "--lateness", "8s"]
        little = {
            # a machine that is busy with other things folds late, and what explains a value may be long on its way
            "OUTCOMES_IN_FLIGHT": "5m",
            "OUTCOMES_CHECK_ROWS": str(check_rows),
            "OUTCOMES_DRAWS": "20",
            "OUTCOMES_DRIFT_MIN_USERS": "50",
        }
        self.run_job("outcomes", "outcomes", *places, *history, *soon, environment=little)

    def watch(self, name: str, rules: str) -> Prometheus:
        """Start one more Prometheus, and return it once it sees everything."""
        port = free_port()
        command = prometheus_command(self.paths.root / name, rules, self._targets(), port)
        self.tree.start(name, command)
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        prometheus.wait_watching(self.tree.check)
        return prometheus

    def check(self) -> None:
        """Raise what went wrong: a process that ended, a request that was not answered."""
        self.tree.check()
        self.traffic.check()

    def _targets(self) -> list[Target]:
        targets = [Target(f"reprise-{name}", self.ports[name]) for name in SERVICES]
        targets.append(Target("redis", self.ports["redis-exporter"]))
        targets.append(Target("pushgateway", self.ports["pushgateway"], pushed=True))
        if self.kafka is not None:
            targets.append(Target("kafka", self.kafka.metrics_port, interval=_KAFKA_INTERVAL))
            targets.append(Target("kafka-lag", self.kafka.lag_port))
        return targets


@contextmanager
def observed_platform(folder: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[Platform]:
    """Run the platform with traffic of every kind, and give it with the Prometheus that watches it.

    The log is a real Kafka broker where the machine can run one. Predictions have been archived and judged.
    """
    paths = commands.DemoPaths(folder.resolve())
    commands.prepare(paths, ROOT / "feature_repo" / "definitions.py")
    shutil.copytree(PLAN.parent, paths.plan.parent)
    ports = {name: free_port() for name in (*SERVICES, "pushgateway", "redis-exporter")}
    without_kafka = why_no_kafka()
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis("--appendonly", "yes"))
        kafka = None if without_kafka else stack.enter_context(observed_kafka())
        tree = stack.enter_context(ProcessTree(paths.logs))
        platform = Platform(tree, paths, ports, redis, kafka, without_kafka)
        _start(platform, say)
        platform.traffic = Traffic(paths.history, platform.url("predictor"), platform.url("producer"))
        say("predicting and streaming until predictions are archived whose outcomes are known")
        with platform.traffic.flowing():
            platform.prometheus = platform.watch("prometheus", RULES.read_text())
            wait_until("predictions are archived", lambda: _has_archived(platform), 120)
            platform.check()
            say("judging predictions by what followed, within seconds instead of days")
            platform.judge()
            computed = partial(platform.prometheus.query, "reprise_outcomes_computed_timestamp_seconds")
            wait_until("Prometheus gets the outcomes", computed, 30, every=0.2)
            yield platform


def look(platform: Platform) -> tuple[list[Seen], list[Seen]]:
    """Return what every panel and every alert shows once all panels have data, or after a minute."""
    lacking = {"kubernetes": "needs Kubernetes"}
    if platform.without_kafka:
        lacking["kafka"] = f"needs Kafka: {platform.without_kafka}"
    give_up = time.monotonic() + _SHOWN_SECONDS
    while True:
        panels, alerts = look_at(platform.prometheus, lacking)
        if not any(seen.problem for seen in panels) or time.monotonic() > give_up:
            return panels, alerts
        time.sleep(1)


def look_at(
    prometheus: Prometheus, lacking: Mapping[str, str], namespace: str = ".*"
) -> tuple[list[Seen], list[Seen]]:
    """Return what a Prometheus shows in every panel and of every alert.

    ``lacking`` says why panels are left out, by what they need; ``namespace`` is a regular expression.
    """
    panels = [
        _panel(prometheus, page.title, panel, lacking, namespace)
        for page in DASHBOARDS
        for panel in page.panels
    ]
    alerts = []
    for rule in prometheus.alerts():
        values = {_labels(alert["labels"]): float(alert["value"]) for alert in rule["alerts"]}
        alerts.append(Seen(rule["group"], rule["name"], values, rule["state"], rule.get("lastError", "")))
    return panels, alerts


def _start(platform: Platform, say: Callable[[str], None]) -> None:
    tree, paths, ports = platform.tree, platform.paths, platform.ports
    listening = f"--web.listen-address=127.0.0.1:{ports['pushgateway']}"
    tree.start("pushgateway", ["prometheus-pushgateway", listening, "--persistence.file="])
    say("making a history, training, filling Redis, scoring")
    tree.run("datagen", commands.steps(paths, SHOP)["datagen"])
    history = ["--events", str(paths.history), "--plan", str(paths.plan)]
    quick = ["--cv-folds", "0", "--max-rows", "3000", "--out", str(paths.models)]
    platform.run_job("train", "train", *history, "--truth", str(paths.truth), *quick)
    platform.run_job("backfill", "backfill", *history)
    places = ["--model-store", str(paths.models), "--out", str(paths.scores)]
    platform.run_job("nightly", "nightly", "--events", str(paths.history), *places, "--backtests", "2")
    if platform.kafka is None:
        say(f"the log is the embedded one, for {platform.without_kafka}: Kafka's panels are left out")
    else:
        tree.run("topics", ["topics"], platform.log)
        tree.start("kafka-lag", platform.kafka.lag_exporter)
    say("starting the services, Redis' exporter and Prometheus")
    for name in SERVICES:
        platform.start(name)
    with httpx.Client(timeout=10, trust_env=False) as client:
        for name in SERVICES:
            wait_ready(client, platform.url(name), tree.check)
    listening = f"-web.listen-address=127.0.0.1:{ports['redis-exporter']}"
    watched = f"-redis.addr=redis://127.0.0.1:{platform.redis.port}"
    tree.start("redis-exporter", ["prometheus-redis-exporter", watched, listening])


def _commands(platform: Platform) -> dict[str, tuple[list[str], dict[str, str]]]:
    paths, redis = platform.paths, commands.redis_environment(platform.redis.port)
    simulate = ["produce", "--mode", "continuous", "--rate", f"{_EVENTS_A_SECOND:g}", *SHOP.population]
    serve = {
        "MODEL_STORE": str(paths.models),
        "MODEL_RELOAD_SECONDS": "1",
        "PREDICTOR_PREDICTION_LOG": "true",
    }
    keep = {"REPRISE_OFFLINE_STORE": str(paths.offline), "ARCHIVER_WINDOW_SECONDS": "5"}
    return {
        "materializer": (["materialize"], {**redis, "REPRISE_PLAN": str(paths.plan)}),
        "predictor": (["serve"], {**redis, **serve}),
        "producer": (simulate, {}),
        "archiver": (["archive"], keep),
    }


def _has_archived(platform: Platform) -> bool:
    platform.tree.check()
    segments = (platform.paths.offline / PREDICTIONS.name).rglob("[!.]*.parquet")
    written = [segment.stat().st_mtime for segment in segments]
    return bool(written) and max(written) - min(written) >= _ARCHIVED_SECONDS


def _panel(
    prometheus: Prometheus, page: str, panel: Panel, lacking: Mapping[str, str], namespace: str
) -> Seen:
    if panel.needs in lacking:
        return Seen(page, panel.title, {}, state=lacking[panel.needs])
    values: dict[str, float] = {}
    for query in panel.queries:
        try:
            series = prometheus.query(query.concrete(_RATE, namespace))
        except ValueError as error:
            return Seen(page, panel.title, values, problem=f"{query.promql}: {error}")
        found = {_legend(query.legend, metric): value for metric, value in series if not math.isnan(value)}
        if not found:
            return Seen(page, panel.title, values, problem=f"{query.promql} is empty")
        values |= found
    return Seen(page, panel.title, values)


def _legend(legend: str, metric: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda label: metric.get(label[1], ""), legend)


def _labels(metric: dict[str, str]) -> str:
    shown = {k: v for k, v in metric.items() if k not in {"__name__", "alertname", "severity"}}
    return ", ".join(f"{name}={value}" for name, value in sorted(shown.items()))
