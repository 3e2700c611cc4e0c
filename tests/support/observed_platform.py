"""The whole platform as processes of this machine, under a real Prometheus with the chart's rules."""

import math
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import yaml
from dashboards.pages import DASHBOARDS
from dashboards.panels import Panel
from reprise_cli.demo import steps
from reprise_cli.demo.measuring import wait_ready
from reprise_cli.demo.processes import ProcessTree, own_command

ROOT = Path(__file__).parents[2]
RULES = ROOT / "charts" / "reprise" / "files" / "rules.yaml"
PLAN = ROOT / "feature_repo" / "plan" / "plan.json"
PROGRAMS = ("prometheus", "prometheus-pushgateway", "prometheus-redis-exporter", "redis-server")
"""What this needs on the machine, all of it Debian packages of these names."""

SHOP = steps.Shop(users=150, products=40, days=150, seed=7)
_RATE = "15s"
_EVENTS_A_SECOND = 60.0
_WARM_SECONDS = 20.0


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


class Prometheus:
    """What is asked of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=20)

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of each series."""
        answer = self._client.post("/api/v1/query", data={"query": promql})
        content = answer.json()
        if content["status"] != "success":
            raise ValueError(f"{content['errorType']}: {content['error']}")
        result = content["data"]["result"]
        if content["data"]["resultType"] == "scalar":
            return [({}, float(result[1]))]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def alerts(self) -> Iterator[dict[str, Any]]:
        """Give every alerting rule with its group, its state, and its instances."""
        for group in self._client.get("/api/v1/rules").json()["data"]["groups"]:
            for rule in group["rules"]:
                if rule["type"] == "alerting":
                    yield {**rule, "group": group["name"]}

    def targets(self) -> dict[str, str]:
        """Return the health of each target, by its job."""
        active = self._client.get("/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}


@contextmanager
def observed_platform(folder: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[Prometheus]:
    """Run the platform with traffic of every kind, and give the Prometheus that watches it once rates have values."""
    paths = steps.DemoPaths(folder.resolve())
    steps.prepare(paths, ROOT / "feature_repo" / "definitions.py")
    shutil.copytree(PLAN.parent, paths.plan.parent)
    ports = {name: steps.free_port() for name in (*_JOBS, "pushgateway", "redis-exporter", "prometheus")}
    with ProcessTree(paths.logs) as tree, httpx.Client(timeout=10, trust_env=False) as client:
        gateway = f"http://127.0.0.1:{ports['pushgateway']}"
        tree.start(
            "pushgateway",
            [
                "prometheus-pushgateway",
                f"--web.listen-address=127.0.0.1:{ports['pushgateway']}",
                "--persistence.file=",
            ],
        )
        say("making a history, training, filling Redis")
        redis_port = _prepare(tree, paths, gateway)
        say("starting the services, Redis' exporter and Prometheus")
        _start_services(tree, paths, redis_port, ports)
        for name in _JOBS:
            wait_ready(client, f"http://127.0.0.1:{ports[name]}", tree.check)
        tree.start("redis-exporter", _redis_exporter(redis_port, ports["redis-exporter"]))
        tree.start("prometheus", _prometheus(paths.root, ports))
        prometheus = Prometheus(f"http://127.0.0.1:{ports['prometheus']}")
        say(f"predicting and streaming for {_WARM_SECONDS:g} s, so that rates have values")
        with _traffic(paths.history, ports, tree):
            _wait_watched(prometheus, tree)
            time.sleep(_WARM_SECONDS)
            tree.check()
            say("judging predictions by what followed, within seconds instead of days")
            _judge(tree, paths, gateway)
            _wait_judged(prometheus)
            yield prometheus


def look(prometheus: Prometheus) -> tuple[list[Seen], list[Seen]]:
    """Return what every panel and every alert shows now."""
    panels = [_panel(prometheus, page.title, panel) for page in DASHBOARDS for panel in page.panels]
    alerts = []
    for rule in prometheus.alerts():
        values = {_labels(alert["labels"]): float(alert["value"]) for alert in rule["alerts"]}
        alerts.append(Seen(rule["group"], rule["name"], values, rule["state"], rule.get("lastError", "")))
    return panels, alerts


_JOBS = ("predictor", "producer", "materializer", "archiver")


def _prepare(tree: ProcessTree, paths: steps.DemoPaths, gateway: str) -> int:
    steps.make_history(tree, paths, SHOP)
    pushing = {"PUSHGATEWAY_URL": gateway}
    train = ["train", "--events", str(paths.history), "--truth", str(paths.truth), "--plan", str(paths.plan)]
    quick = ["--cv-folds", "0", "--max-rows", "3000", "--out", str(paths.models)]
    tree.run("train", own_command(*train, *quick), pushing)
    redis_port, _ = steps.start_redis(tree)
    fill = own_command("backfill", "--events", str(paths.history), "--plan", str(paths.plan))
    tree.run("backfill", fill, {**pushing, **steps.redis_environment(redis_port)})
    return redis_port


def _start_services(
    tree: ProcessTree, paths: steps.DemoPaths, redis_port: int, ports: dict[str, int]
) -> None:
    redis, log = steps.redis_environment(redis_port), {"REPRISE_LOG_DIR": str(paths.log)}

    def listening(name: str) -> dict[str, str]:
        return {"API_HOST": "127.0.0.1", "API_PORT": str(ports[name])}

    fold = {**redis, **log, "REPRISE_PLAN": str(paths.plan), **listening("materializer")}
    tree.start("materializer", own_command("materialize"), fold)
    answer = {**redis, **log, "MODEL_STORE": str(paths.models), "PREDICTOR_PREDICTION_LOG": "true"}
    tree.start("predictor", own_command("serve"), {**answer, **listening("predictor")})
    steps.start_producer(tree, paths, SHOP, ports["producer"], _EVENTS_A_SECOND)
    keep = {**log, "REPRISE_OFFLINE_STORE": str(paths.root / "offline"), "ARCHIVER_WINDOW_SECONDS": "5"}
    tree.start("archiver", own_command("archive"), {**keep, **listening("archiver")})


def _judge(tree: ProcessTree, paths: steps.DemoPaths, gateway: str) -> None:
    places = ["--offline", str(paths.root / "offline"), "--model-store", str(paths.models)]
    history = ["--events", str(paths.history), "--out", str(paths.root / "outcomes"), "--no-publish"]
    soon = ["--horizon", "5s", "--early-horizon", "1s", "--exposure", "1s", "--lateness", "0s"]
    tree.run("outcomes", own_command("outcomes", *places, *history, *soon), {"PUSHGATEWAY_URL": gateway})


def _wait_judged(prometheus: Prometheus) -> None:
    give_up = time.monotonic() + 15
    while not prometheus.query("reprise_outcomes_computed_timestamp_seconds"):
        if time.monotonic() > give_up:
            raise TimeoutError("Prometheus does not get the outcomes from the Pushgateway")
        time.sleep(0.2)


def _redis_exporter(redis_port: int, port: int) -> list[str]:
    addresses = [f"-redis.addr=redis://127.0.0.1:{redis_port}", f"-web.listen-address=127.0.0.1:{port}"]
    return ["prometheus-redis-exporter", *addresses]


def _prometheus(folder: Path, ports: dict[str, int]) -> list[str]:
    def target(job: str, name: str, **extra: object) -> dict[str, object]:
        return {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{ports[name]}"]}], **extra}

    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            *(target(f"reprise-{name}", name) for name in _JOBS),
            target("redis", "redis-exporter"),
            target("pushgateway", "pushgateway", honor_labels=True),
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return [
        "prometheus",
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
        "--log.level=warn",
    ]


def _wait_watched(prometheus: Prometheus, tree: ProcessTree) -> None:
    give_up = time.monotonic() + 30
    health: dict[str, str] = {}
    while time.monotonic() < give_up:
        tree.check()
        try:
            health = prometheus.targets()
        except (httpx.TransportError, ValueError):
            health = {}
        if health and set(health.values()) == {"up"}:
            return
        time.sleep(0.2)
    raise TimeoutError(f"Prometheus does not reach all its targets: {health}")


@contextmanager
def _traffic(history: Path, ports: dict[str, int], tree: ProcessTree) -> Iterator[None]:
    """Ask for predictions, and for what cannot be answered, and send broken events, until left."""
    stop = threading.Event()
    failures: list[Exception] = []
    table = pq.read_table(history, columns=["user_id", "product_id"]).slice(0, 500).to_pylist()

    def ask() -> None:
        predictor, producer = (f"http://127.0.0.1:{ports[name]}" for name in ("predictor", "producer"))
        with httpx.Client(timeout=10, trust_env=False) as client:
            for at in range(10**9):
                pair = table[at % len(table)]
                client.post(f"{predictor}/predict", json=pair).raise_for_status()
                if at % 10 == 0:
                    client.post(
                        f"{predictor}/predict/batch", json={"requests": table[:100]}
                    ).raise_for_status()
                    client.post(f"{predictor}/predict", json={"user_id": "nobody", "product_id": "nothing"})
                    client.post(f"{predictor}/predict", json={"user_id": 7})
                    client.post(
                        f"{producer}/events", json={"user_id": "u", "product_id": "p", "event_type": "?"}
                    )
                if stop.wait(0.02):
                    return

    def run() -> None:
        try:
            ask()
        except Exception as error:  # noqa: BLE001 - raised again below, where it is of use
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(15)
    tree.check()
    if failures:
        raise failures[0]


def _panel(prometheus: Prometheus, page: str, panel: Panel) -> Seen:
    if panel.needs is not None:
        return Seen(page, panel.title, {}, state=f"needs {panel.needs}")
    values: dict[str, float] = {}
    for query in panel.queries:
        try:
            found = [each for each in prometheus.query(query.concrete(_RATE)) if not math.isnan(each[1])]
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
