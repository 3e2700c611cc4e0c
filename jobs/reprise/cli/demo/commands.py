"""The demo's steps: each runs one of Reprise's own commands, as a person would."""

import shutil
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from reprise.cli.demo.exceptions import NotReadyError
from reprise.cli.demo.processes import ProcessTree, own_command

_REDIS_ATTEMPTS = 200


@dataclass(frozen=True)
class DemoPaths:
    """Where the demo keeps what it makes."""

    root: Path

    @property
    def repository(self) -> Path:
        """A copy of the feature repository, planned on this history."""
        return self.root / "feature_repo"

    @property
    def plan(self) -> Path:
        """The compiled plan."""
        return self.repository / "plan" / "plan.json"

    @property
    def history(self) -> Path:
        """The history's events."""
        return self.root / "history.parquet"

    @property
    def truth(self) -> Path:
        """The generator's own probabilities."""
        return self.root / "truth.parquet"

    @property
    def history_report(self) -> Path:
        """A page of plots of the history."""
        return self.root / "history.html"

    @property
    def models(self) -> Path:
        """The model store."""
        return self.root / "models"

    @property
    def log(self) -> Path:
        """The embedded event log."""
        return self.root / "log"

    @property
    def logs(self) -> Path:
        """What the processes print."""
        return self.root / "output"

    @property
    def offline(self) -> Path:
        """The offline store."""
        return self.root / "offline"

    @property
    def outcomes(self) -> Path:
        """What users did after they were predicted."""
        return self.root / "outcomes"

    @property
    def bundle(self) -> Path:
        """The published bundle."""
        digest: str = orjson.loads((self.models / "latest.json").read_bytes())["digest"]
        return self.models / "bundles" / digest.replace(":", "-")


@dataclass(frozen=True)
class Shop:
    """The size of the synthetic shop."""

    users: int
    products: int
    days: int
    seed: int

    @property
    def population(self) -> list[str]:
        """The options that make the same people and goods in a history and in the stream."""
        return ["--users", str(self.users), "--products", str(self.products), "--seed", str(self.seed)]


def prepare(paths: DemoPaths, definitions: Path) -> None:
    """Start with an empty folder and a copy of the definitions."""
    if paths.root.exists():
        shutil.rmtree(paths.root)
    paths.logs.mkdir(parents=True)
    paths.repository.mkdir()
    shutil.copy(definitions, paths.repository / "definitions.py")


def make_history(tree: ProcessTree, paths: DemoPaths, shop: Shop) -> str:
    """Make a history that ends now."""
    start = datetime.now(UTC) - timedelta(days=shop.days)
    outputs = [
        "--out",
        str(paths.history),
        "--truth",
        str(paths.truth),
        "--report",
        str(paths.history_report),
    ]
    options = [*shop.population, "--days", str(shop.days), "--start", start.isoformat(timespec="seconds")]
    return tree.run("datagen", own_command("datagen", *options, *outputs))


def plan_features(tree: ProcessTree, paths: DemoPaths) -> str:
    """Discover and select features on the history."""
    options = ["--repository", str(paths.repository), "--events", str(paths.history)]
    return tree.run("features-plan", own_command("features", "plan", *options))


def train(tree: ProcessTree, paths: DemoPaths) -> str:
    """Train and publish a model."""
    options = ["--events", str(paths.history), "--truth", str(paths.truth), "--plan", str(paths.plan)]
    return tree.run("train", own_command("train", *options, "--out", str(paths.models)))


def train_on_little(tree: ProcessTree, paths: DemoPaths) -> str:
    """Train a model on a few rows, to be compared with, and return its digest."""
    options = ["--events", str(paths.history), "--plan", str(paths.plan), "--out", str(paths.models)]
    little = ["--max-rows", "2000", "--cv-folds", "0", "--no-set-latest"]
    said = tree.run("train-on-little", own_command("train", *options, *little))
    return next(line.split()[1] for line in said.splitlines() if line.startswith("bundle"))


def archive(tree: ProcessTree, paths: DemoPaths) -> str:
    """Keep what the log holds as Parquet."""
    log = {"REPRISE_LOG_DIR": str(paths.log), "LOG_LEVEL": "warning"}
    return tree.run(
        "archive", own_command("archive", "--until-idle", "2", "--store", str(paths.offline)), log
    )


def outcomes(tree: ProcessTree, paths: DemoPaths, redis_port: int, horizon_seconds: int) -> str:
    """Judge the archived predictions by what was bought within so many seconds."""
    stores = [
        "--offline",
        str(paths.offline),
        "--model-store",
        str(paths.models),
        "--out",
        str(paths.outcomes),
    ]
    times = [
        "--horizon",
        f"{horizon_seconds}s",
        "--early-horizon",
        "1s",
        "--exposure",
        "1s",
        "--lateness",
        "0s",
    ]
    options = [*stores, *times, "--events", str(paths.history), "--check-rows", "500"]
    environment = {**redis_environment(redis_port), "OUTCOMES_MIN_USERS": "100", "OUTCOMES_IN_FLIGHT": "5s"}
    return tree.run("outcomes", own_command("outcomes", *options), environment)


def start_redis(tree: ProcessTree) -> tuple[int, str]:
    """Start a Redis for the demo alone and return its port, and which Redis it is."""
    port = free_port()
    server = shutil.which("redis-server")
    if server is not None:
        kind = "redis-server"
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        tree.start("redis", [server, *options])
    else:
        kind = "embedded, because this machine has no redis-server"
        tree.start("redis", [sys.executable, "-m", "reprise.cli.demo.embedded_redis", str(port)])
    client = Redis(port=port)
    for _ in range(_REDIS_ATTEMPTS):
        tree.check()
        try:
            client.ping()
        except RedisConnectionError:
            time.sleep(0.05)
        else:
            client.close()
            return port, kind
    raise NotReadyError(f"Redis on port {port} does not answer")


def fill_store(tree: ProcessTree, paths: DemoPaths, redis_port: int) -> str:
    """Write the history's states into Redis."""
    options = ["--events", str(paths.history), "--plan", str(paths.plan)]
    return tree.run("backfill", own_command("backfill", *options), redis_environment(redis_port))


def redis_environment(port: int) -> dict[str, str]:
    """Return the environment of a process that uses the demo's Redis."""
    return {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}


def make_topics(tree: ProcessTree) -> str:
    """Make the topics that Kafka lacks."""
    return tree.run("topics", own_command("topics"))


def start_services(
    tree: ProcessTree, paths: DemoPaths, shop: Shop, redis_port: int, rate: float, group: str
) -> dict[str, str]:
    """Start materializer, predictor and producer, and return their addresses."""
    ports = {name: free_port() for name in ("materializer", "predictor", "producer")}
    redis, log = redis_environment(redis_port), {"REPRISE_LOG_DIR": str(paths.log)}
    log |= {"MATERIALIZER_GROUP": group}
    fold = {**redis, **log, "REPRISE_PLAN": str(paths.plan), **_listen(ports["materializer"])}
    tree.start("materializer", own_command("materialize"), fold)
    answer = {**redis, **log, "MODEL_STORE": str(paths.models), **_listen(ports["predictor"])}
    answer |= {"PREDICTOR_PREDICTION_LOG": "true"}
    tree.start("predictor", own_command("serve"), answer)
    start_producer(tree, paths, shop, ports["producer"], rate)
    return {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


def start_producer(tree: ProcessTree, paths: DemoPaths, shop: Shop, port: int, rate: float) -> None:
    """Start the producer, simulating and taking events over HTTP."""
    simulate = ["produce", "--mode", "continuous", "--rate", f"{rate:g}", *shop.population]
    tree.start("producer", own_command(*simulate), {"REPRISE_LOG_DIR": str(paths.log), **_listen(port)})


def start_status(tree: ProcessTree, addresses: Mapping[str, str]) -> str:
    """Start the status page of these services, and return its address."""
    port = free_port()
    targets = ",".join(f"{name}={addresses[name]}" for name in ("predictor", "producer", "materializer"))
    look = {"STATUS_TARGETS": targets, "STATUS_INTERVAL_SECONDS": "2", "STATUS_TITLE": "demo"}
    tree.start("status", own_command("status"), {**look, **_listen(port)})
    return f"http://127.0.0.1:{port}"


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listen(port: int) -> dict[str, str]:
    return {"API_HOST": "127.0.0.1", "API_PORT": str(port)}
