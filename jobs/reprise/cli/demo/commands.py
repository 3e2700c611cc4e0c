"""Reprise's own commands, run as a person would run them."""

import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from reprise.cli.demo.processes import ProcessTree, own_command
from reprise.cli.demo.waiting import wait_until

_REDIS_SECONDS = 10.0


class DemoPaths:
    """The demo's files and folders below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repository = root / "feature_repo"
        """A copy of the feature repository, planned on this history."""
        self.plan = root / "feature_repo" / "plan" / "plan.json"
        self.history = root / "history.parquet"
        self.truth = root / "truth.parquet"
        self.history_report = root / "history.html"
        self.models = root / "models"
        self.log = root / "log"
        """The embedded event log."""
        self.logs = root / "output"
        """Output of the processes."""
        self.offline = root / "offline"
        self.outcomes = root / "outcomes"

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
        """The options that generate the same users and products in history and stream."""
        return ["--users", str(self.users), "--products", str(self.products), "--seed", str(self.seed)]


def prepare(paths: DemoPaths, definitions: Path) -> None:
    """Empty the folder and copy the definitions into it."""
    if paths.root.exists():
        shutil.rmtree(paths.root)
    paths.logs.mkdir(parents=True)
    paths.repository.mkdir()
    shutil.copy(definitions, paths.repository / "definitions.py")


def make_history(tree: ProcessTree, paths: DemoPaths, shop: Shop) -> str:
    """Generate a history that ends now."""
    start = datetime.now(UTC) - timedelta(days=shop.days)
    files = {"--out": paths.history, "--truth": paths.truth, "--report": paths.history_report}
    options = [*shop.population, "--days", str(shop.days), "--start", start.isoformat(timespec="seconds")]
    return tree.run("datagen", own_command("datagen", *options, *_flat(files)))


def plan_features(tree: ProcessTree, paths: DemoPaths) -> str:
    """Discover and select features on the history."""
    options = ["--repository", str(paths.repository), "--events", str(paths.history)]
    return tree.run("features-plan", own_command("features", "plan", *options))


def train(tree: ProcessTree, paths: DemoPaths) -> str:
    """Train and publish a model."""
    options = ["--events", str(paths.history), "--truth", str(paths.truth), "--plan", str(paths.plan)]
    return tree.run("train", own_command("train", *options, "--out", str(paths.models)))


def train_on_little(tree: ProcessTree, paths: DemoPaths) -> str:
    """Train a weaker model on a few rows and return its digest."""
    options = ["--events", str(paths.history), "--plan", str(paths.plan), "--out", str(paths.models)]
    little = ["--max-rows", "2000", "--cv-folds", "0", "--no-set-latest"]
    output = tree.run("train-on-little", own_command("train", *options, *little))
    return next(line.split()[1] for line in output.splitlines() if line.startswith("bundle"))


def archive(tree: ProcessTree, paths: DemoPaths) -> str:
    """Archive the log as Parquet."""
    log = {"REPRISE_LOG_DIR": str(paths.log), "LOG_LEVEL": "warning"}
    command = own_command("archive", "--until-idle", "2", "--store", str(paths.offline))
    return tree.run("archive", command, log)


def outcomes(tree: ProcessTree, paths: DemoPaths, redis_port: int, horizon_seconds: int) -> str:
    """Compare the archived predictions with the purchases within the horizon."""
    stores = {"--offline": paths.offline, "--model-store": paths.models, "--out": paths.outcomes}
    times = {
        "--horizon": f"{horizon_seconds}s",
        "--early-horizon": "1s",
        "--exposure": "1s",
        "--lateness": "0s",
    }
    options = _flat({**stores, **times, "--events": paths.history, "--check-rows": "500"})
    environment = {**redis_environment(redis_port), "OUTCOMES_MIN_USERS": "100", "OUTCOMES_IN_FLIGHT": "5s"}
    return tree.run("outcomes", own_command("outcomes", *options), environment)


def start_redis(tree: ProcessTree) -> tuple[int, str]:
    """Start a Redis for the demo and return its port and kind."""
    port = free_port()
    server = shutil.which("redis-server")
    if server is not None:
        kind = "redis-server"
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        tree.start("redis", [server, *options])
    else:
        kind = "embedded, because this machine has no redis-server"
        tree.start("redis", [sys.executable, "-m", "reprise.cli.demo.embedded_redis", str(port)])
    with closing(Redis(port=port)) as client:

        def answers() -> bool:
            tree.check()
            with suppress(RedisConnectionError):
                return bool(client.ping())
            return False

        wait_until(answers, _REDIS_SECONDS, f"Redis on port {port} does not answer", every=0.05)
    return port, kind


def fill_store(tree: ProcessTree, paths: DemoPaths, redis_port: int) -> str:
    """Write the state of the history to Redis."""
    options = ["--events", str(paths.history), "--plan", str(paths.plan)]
    return tree.run("backfill", own_command("backfill", *options), redis_environment(redis_port))


def redis_environment(port: int) -> dict[str, str]:
    """Return the environment for the demo's Redis."""
    return {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}


def make_topics(tree: ProcessTree) -> str:
    """Create the topics that Kafka lacks."""
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
    """Start the producer, which simulates events and accepts them over HTTP."""
    simulate = ["produce", "--mode", "continuous", "--rate", f"{rate:g}", *shop.population]
    tree.start("producer", own_command(*simulate), {"REPRISE_LOG_DIR": str(paths.log), **_listen(port)})


def start_status(tree: ProcessTree, addresses: Mapping[str, str]) -> str:
    """Start the status page of these services, and return its address."""
    port = free_port()
    targets = ",".join(f"{name}={addresses[name]}" for name in ("predictor", "producer", "materializer"))
    status = {"STATUS_TARGETS": targets, "STATUS_INTERVAL_SECONDS": "2", "STATUS_TITLE": "demo"}
    tree.start("status", own_command("status"), {**status, **_listen(port)})
    return f"http://127.0.0.1:{port}"


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _flat(options: Mapping[str, object]) -> list[str]:
    return [str(word) for option in options.items() for word in option]


def _listen(port: int) -> dict[str, str]:
    return {"API_HOST": "127.0.0.1", "API_PORT": str(port)}
