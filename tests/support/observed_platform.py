"""The whole platform as processes of this machine, under a real Prometheus with the chart's rules."""

import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from dashboards.pages import DASHBOARDS
from dashboards.panels import Panel
from reprise.cli.demo import commands
from reprise.cli.demo.latency import wait_ready
from reprise.cli.demo.processes import ProcessTree, own_command
from support.observed_kafka import ObservedKafka, observed_kafka, why_no_kafka
from support.observed_prometheus import Prometheus, Target, prometheus_command
from support.observed_traffic import Traffic
from support.redis import RedisServer, running_redis

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "reprise" / "files" / "rules.yaml"
PLAN = ROOT / "feature_repo" / "plan" / "plan.json"
PROGRAMS = ("prometheus", "prometheus-pushgateway", "prometheus-redis-exporter", "redis-server")
"""What this needs on the machine, all of it Debian packages of these names."""

SHOP = commands.Shop(users=150, products=40, days=150, seed=7)
SERVICES = ("predictor", "producer", "materializer", "archiver")
_RATE = "15s"
_EVENTS_A_SECOND = 60.0
_WARM_SECONDS = 20.0
# The broker's page of metrics is long, and Prometheus, Kafka and the platform share the processors.
_KAFKA_INTERVAL = "5s"


def missing_programs() -> list[str]:
    """Return which of the programs this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@dataclass(frozen=True)
class Seen:
    """What a panel or an alert shows.

    Attributes:
        page: The dashboard, or the rules' group.
        title: The panel, or the alert.
        values: What the queries returned: legends or labels, and numbers.
        state: Why a panel is left out, or an alert's state.
        problem: What is wrong with it.
    """

    page: str
    title: str
    values: dict[str, float]
    state: str = ""
    problem: str = ""


@dataclass
class Platform:
    """Running services with traffic, and what watches them.

    Attributes:
        tree: All processes but Redis and the broker.
        paths: Where everything is kept.
        ports: Where who answers.
        redis: The online store; what it holds outlives it.
        kafka: The broker; without one the log is the embedded one.
        without_kafka: Why there is no broker.
        traffic: What asks it.
        prometheus: Watches it by the chart's rules.
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
        """Return the address of a service."""
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def log(self) -> dict[str, str]:
        """What a process needs to use the log."""
        return {"REPRISE_LOG_DIR": str(self.paths.log)} if self.kafka is None else self.kafka.environment

    def start(self, service: str) -> None:
        """Start a service."""
        commands = _commands(self)
        command, environment = commands[service]
        listening = {"API_HOST": "127.0.0.1", "API_PORT": str(self.ports[service])}
        self.tree.start(service, own_command(*command), {**self.log, **environment, **listening})

    def run_job(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a job to its end; it pushes its metrics, and raises ``StepFailedError`` where it fails."""
        store = commands.redis_environment(self.redis.port)
        pushing = {"PUSHGATEWAY_URL": self.url("pushgateway")}
        return self.tree.run(name, own_command(*arguments), {**store, **pushing, **(environment or {})})

    def judge(self, check_rows: int = 5_000) -> None:
        """Judge the predictions so far by what followed, within seconds instead of days."""
        places = ["--offline", str(self.paths.offline), "--model-store", str(self.paths.models)]
        history = ["--events", str(self.paths.history), "--out", str(self.paths.outcomes), "--no-publish"]
        soon = ["--horizon", "5s", "--early-horizon", "1s", "--exposure", "1s", "--lateness", "0s"]
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
        port = commands.free_port()
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

    The log is a real Kafka broker where the machine can run one. What is given has been asked for so long that rates
    have values.
    """
    paths = commands.DemoPaths.below(folder.resolve())
    commands.prepare(paths, ROOT / "feature_repo" / "definitions.py")
    shutil.copytree(PLAN.parent, paths.plan.parent)
    ports = {name: commands.free_port() for name in (*SERVICES, "pushgateway", "redis-exporter")}
    without_kafka = why_no_kafka()
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis("--appendonly", "yes"))
        kafka = None if without_kafka else stack.enter_context(observed_kafka())
        tree = stack.enter_context(ProcessTree(paths.logs))
        platform = Platform(tree, paths, ports, redis, kafka, without_kafka)
        _start(platform, say)
        platform.traffic = Traffic(paths.history, platform.url("predictor"), platform.url("producer"))
        say(f"predicting and streaming for {_WARM_SECONDS:g} s, so that rates have values")
        with platform.traffic.flowing():
            platform.prometheus = platform.watch("prometheus", RULES.read_text())
            time.sleep(_WARM_SECONDS)
            platform.check()
            say("judging predictions by what followed, within seconds instead of days")
            platform.judge()
            _wait_judged(platform.prometheus)
            yield platform


def look(platform: Platform) -> tuple[list[Seen], list[Seen]]:
    """Return what every panel and every alert shows now."""
    lacking = {"kubernetes": "needs Kubernetes"}
    if platform.without_kafka:
        lacking["kafka"] = f"needs Kafka: {platform.without_kafka}"
    return look_at(platform.prometheus, lacking)


def look_at(
    prometheus: Prometheus, lacking: Mapping[str, str], namespace: str = ".*"
) -> tuple[list[Seen], list[Seen]]:
    """Return what a Prometheus shows in every panel and of every alert.

    Args:
        prometheus: Who is asked.
        lacking: Why panels are left out, by what they need.
        namespace: What Grafana's variable would choose, a regular expression.
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
    say("making a history, training, filling Redis")
    commands.make_history(tree, paths, SHOP)
    history = ["--events", str(paths.history), "--plan", str(paths.plan)]
    quick = ["--cv-folds", "0", "--max-rows", "3000", "--out", str(paths.models)]
    platform.run_job("train", "train", *history, "--truth", str(paths.truth), *quick)
    platform.run_job("backfill", "backfill", *history)
    if platform.kafka is None:
        say(f"the log is the embedded one, for {platform.without_kafka}: Kafka's panels are left out")
    else:
        tree.run("topics", own_command("topics"), platform.log)
        tree.start("kafka-lag", platform.kafka.lag_exporter)
    say("starting the services, Redis' exporter and Prometheus")
    for name in SERVICES:
        platform.start(name)
    with httpx.Client(timeout=10, trust_env=False) as client:
        for name in SERVICES:
            wait_ready(client, platform.url(name), tree.check)
    tree.start("redis-exporter", _redis_exporter(platform.redis.port, ports["redis-exporter"]))


def _commands(platform: Platform) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return the arguments and the environment of each service."""
    paths, redis = platform.paths, commands.redis_environment(platform.redis.port)
    simulate = ["produce", "--mode", "continuous", "--rate", f"{_EVENTS_A_SECOND:g}", *SHOP.population]
    answer = {
        "MODEL_STORE": str(paths.models),
        "MODEL_RELOAD_SECONDS": "1",
        "PREDICTOR_PREDICTION_LOG": "true",
    }
    keep = {"REPRISE_OFFLINE_STORE": str(paths.offline), "ARCHIVER_WINDOW_SECONDS": "5"}
    return {
        "materializer": (["materialize"], {**redis, "REPRISE_PLAN": str(paths.plan)}),
        "predictor": (["serve"], {**redis, **answer}),
        "producer": (simulate, {}),
        "archiver": (["archive"], keep),
    }


def _wait_judged(prometheus: Prometheus) -> None:
    give_up = time.monotonic() + 15
    while not prometheus.query("reprise_outcomes_computed_timestamp_seconds"):
        if time.monotonic() > give_up:
            raise TimeoutError("Prometheus does not get the outcomes from the Pushgateway")
        time.sleep(0.2)


def _redis_exporter(redis_port: int, port: int) -> list[str]:
    addresses = [f"-redis.addr=redis://127.0.0.1:{redis_port}", f"-web.listen-address=127.0.0.1:{port}"]
    return ["prometheus-redis-exporter", *addresses]


def _panel(
    prometheus: Prometheus, page: str, panel: Panel, lacking: Mapping[str, str], namespace: str
) -> Seen:
    if panel.needs in lacking:
        return Seen(page, panel.title, {}, state=lacking[panel.needs])
    values: dict[str, float] = {}
    for query in panel.queries:
        try:
            found = [
                each for each in prometheus.query(query.concrete(_RATE, namespace)) if not math.isnan(each[1])
            ]
        except ValueError as error:
            return Seen(page, panel.title, values, problem=f"{query.promql}: {error}")
        if not found:
            return Seen(page, panel.title, values, problem=f"{query.promql} is empty")
        values.update({_legend(query.legend, metric): value for metric, value in found})
    return Seen(page, panel.title, values)


def _legend(legend: str, metric: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda label: metric.get(label[1], ""), legend)


def _labels(metric: dict[str, str]) -> str:
    shown = {k: v for k, v in metric.items() if k not in {"__name__", "alertname", "severity"}}
    return ", ".join(f"{name}={value}" for name, value in sorted(shown.items()))
