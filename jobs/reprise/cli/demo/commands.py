"""Reprise's own commands, run as a person would run them."""

import shutil
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from reprise.cli.demo.processes import ProcessTree, free_port
from reprise.cli.demo.waiting import wait_until

HORIZON_SECONDS = 6
"""Time after a prediction in which a purchase counts."""
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
        self.scores = root / "scores"

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


def steps(paths: DemoPaths, shop: Shop) -> dict[str, list[str]]:
    """Return the arguments of each command that runs to its end; the history ends now."""
    start = (datetime.now(UTC) - timedelta(days=shop.days)).isoformat(timespec="seconds")
    history = ["--out", paths.history, "--truth", paths.truth, "--report", paths.history_report]
    events, plan, models = ["--events", paths.history], ["--plan", paths.plan], ["--out", paths.models]
    stores = ["--offline", paths.offline, "--model-store", paths.models, "--out", paths.outcomes]
    nightly = ["--model-store", paths.models, "--out", paths.scores, "--backtests", 2]
    times = [f"--horizon={HORIZON_SECONDS}s", "--early-horizon=1s", "--exposure=1s", "--lateness=0s"]
    little = ["--max-rows", 2000, "--cv-folds", 0, "--no-set-latest"]
    commands: dict[str, list[object]] = {
        "datagen": ["datagen", *shop.population, "--days", shop.days, "--start", start, *history],
        "features-plan": ["features", "plan", "--repository", paths.repository, *events],
        "train": ["train", *events, "--truth", paths.truth, *plan, *models, "--backtests", 1],
        "train-on-little": ["train", *events, *plan, *models, *little],
        "backfill": ["backfill", *events, *plan],
        "nightly": ["nightly", *events, *nightly],
        "topics": ["topics"],
        "archive": ["archive", "--until-idle", 2, "--store", paths.offline],
        "outcomes": ["outcomes", *stores, *times, *events, "--check-rows", 500],
    }
    return {step: [str(word) for word in words] for step, words in commands.items()}


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


def redis_environment(port: int) -> dict[str, str]:
    """Return the environment for the demo's Redis."""
    return {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)}


def start_services(
    tree: ProcessTree, paths: DemoPaths, shop: Shop, redis_port: int, rate: float, group: str
) -> dict[str, str]:
    """Start materializer, predictor and producer, and return their addresses."""
    common = {**redis_environment(redis_port), "REPRISE_LOG_DIR": str(paths.log), "MATERIALIZER_GROUP": group}
    answer = {"MODEL_STORE": str(paths.models), "PREDICTOR_PREDICTION_LOG": "true"}
    return {
        "materializer": tree.serve(
            "materializer", ["materialize"], {**common, "REPRISE_PLAN": str(paths.plan)}
        ),
        "predictor": tree.serve("predictor", ["serve"], {**common, **answer}),
        "producer": start_producer(tree, paths, shop, rate),
    }


def start_producer(
    tree: ProcessTree, paths: DemoPaths, shop: Shop, rate: float, port: int | None = None
) -> str:
    """Start the producer, which simulates events and accepts them over HTTP; return its address."""
    simulate = ["produce", "--mode", "continuous", "--rate", f"{rate:g}", *shop.population]
    return tree.serve("producer", simulate, {"REPRISE_LOG_DIR": str(paths.log)}, port)
