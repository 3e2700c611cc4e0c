"""The demo from start to end."""

import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
import numpy as np
import orjson
import pyarrow.parquet as pq
from rich.console import Console

from reprise.bundle import BundleStore
from reprise.cli.demo import ab_test, commands
from reprise.cli.demo.event_log import commit_end_offsets, streamed_events
from reprise.cli.demo.latency import measure_freshness, measure_predictions, wait_ready
from reprise.cli.demo.parity import compare_offline, compare_online
from reprise.cli.demo.processes import ProcessTree
from reprise.cli.demo.report import DemoResult, print_report
from reprise.features.plan import Plan
from reprise.log import EventLogSettings

_PREDICTIONS = 2_000
_PROBES = 50
_ONLINE_ROWS = 500
_CAUGHT_UP_SECONDS = 30.0
_AB_PAIRS = 20_000
_RECENT_EVENTS = 20_000


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo, as the command's help describes them."""

    folder: Path
    definitions: Path
    shop: commands.Shop
    rate: float
    live_seconds: float
    keep_serving: bool


@dataclass(frozen=True)
class _Platform:
    """The running platform, and consumer groups of this run alone: a Kafka remembers those of earlier runs."""

    console: Console
    client: httpx.Client
    tree: ProcessTree
    options: DemoOptions
    paths: commands.DemoPaths
    log: EventLogSettings
    redis_port: int
    check_group: str
    addresses: Mapping[str, str]


def run_demo(options: DemoOptions) -> int:
    """Run the demo and return its exit status: 0 if every check passed.

    Raises:
        DemoError: A step failed.
        EventLogError: The event log cannot be used.
        KeyboardInterrupt: It was stopped by a signal; every process that it started has ended.
    """
    started = time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    paths = commands.DemoPaths.below(options.folder.resolve())
    signal.signal(signal.SIGTERM, _interrupt)
    commands.prepare(paths, options.definitions)
    with ProcessTree(paths.logs) as tree, httpx.Client(timeout=10.0) as client:
        platform = _start_platform(console, client, tree, options, paths)
        result = _measure(platform, started)
        files = {
            "model card": paths.bundle / "model_card.html",
            **({"A/B test": paths.outcomes / "report.html"} if result.ab_test is not None else {}),
            "history": paths.history_report,
            "logs": paths.logs,
        }
        print_report(console, result, platform.addresses, files)
        if options.keep_serving and not result.failures:
            _keep_serving(platform)
    return 1 if result.failures else 0


def _start_platform(
    console: Console,
    client: httpx.Client,
    tree: ProcessTree,
    options: DemoOptions,
    paths: commands.DemoPaths,
) -> _Platform:
    shop = options.shop
    log = EventLogSettings.load(log_dir=paths.log)
    group = f"demo-{time.time_ns()}"
    console.print(f"• making a history: {shop.users:,} users, {shop.products:,} products, {shop.days} days")
    console.print(f"  {_last_line(commands.make_history(tree, paths, shop))}")
    console.print("• discovering and selecting features on it")
    summary = [line for line in commands.plan_features(tree, paths).splitlines() if "discovered" in line]
    console.print("\n".join(f"  {line}" for line in summary))
    console.print("• training")
    commands.train(tree, paths)
    redis_port, kind = commands.start_redis(tree)
    console.print(f"• filling Redis ({kind}) with the state of the history")
    console.print(f"  {_last_line(commands.fill_store(tree, paths, redis_port))}")
    if log.kafka_servers is not None:
        console.print(f"• creating the topics in Kafka at {log.kafka_servers}")
        commands.make_topics(tree)
    commit_end_offsets(log, (f"{group}-materializer", f"{group}-check"))
    addresses = commands.start_services(tree, paths, shop, redis_port, options.rate, f"{group}-materializer")
    for address in addresses.values():
        wait_ready(client, address, tree.check)
    console.print(f"• streaming live events, {options.rate:g} per second")
    return _Platform(console, client, tree, options, paths, log, redis_port, f"{group}-check", addresses)


def _measure(platform: _Platform, started: float) -> DemoResult:
    client, tree, paths, addresses = platform.client, platform.tree, platform.paths, platform.addresses
    streaming_since = time.monotonic()
    pairs = _some_pairs(paths.history, max(_PREDICTIONS, _ONLINE_ROWS))
    freshness = measure_freshness(client, addresses["producer"], addresses["predictor"], _PROBES)
    predictions, request, response = measure_predictions(client, addresses["predictor"], pairs[:_PREDICTIONS])
    # a shared Kafka holds other predictions and purchases as well
    tests_models = platform.log.kafka_servers is None
    if tests_models:
        _simulate_users(platform)
    tree.check()
    time.sleep(max(0.0, platform.options.live_seconds - (time.monotonic() - streaming_since)))
    tree.stop("producer")
    streamed = streamed_events(platform.log, platform.check_group)
    folded = _wait_folded(platform, len(streamed))
    plan = Plan.load(paths.plan)
    unknown = [("nobody", pairs[0][1]), (pairs[0][0], "nothing"), ("nobody", "nothing")]
    online = compare_online(
        client, addresses["predictor"], plan, paths.history, streamed, [*pairs[:_ONLINE_ROWS], *unknown]
    )
    return DemoResult(
        evaluation=orjson.loads((paths.bundle / "metadata.json").read_bytes())["evaluation"],
        comparisons=(*compare_offline(plan, paths.repository, paths.history), online),
        history_events=pq.read_metadata(paths.history).num_rows,
        streamed_events=len(streamed),
        folded=folded,
        freshness=freshness,
        predictions=predictions,
        request=request,
        response=response,
        ab_test=ab_test.compare_arms(tree, paths, platform.redis_port) if tests_models else None,
        seconds=time.monotonic() - started,
    )


def _simulate_users(platform: _Platform) -> None:
    """Send predictions and purchases of two models' users, and wait until the horizon of the last one is over."""
    models = BundleStore(str(platform.paths.models))
    digests = commands.train_on_little(platform.tree, platform.paths), models.latest()
    pairs = ab_test.some_pairs(_some_pairs(platform.paths.history, _AB_PAIRS))
    ab_test.simulate_users(platform.client, platform.addresses, models, digests, platform.redis_port, pairs)
    time.sleep(ab_test.HORIZON_SECONDS + 2.0)


def _some_pairs(history: Path, count: int) -> list[tuple[str, str]]:
    """Return the pairs of random recent events of the history."""
    table = pq.read_table(history, columns=["user_id", "product_id"])
    recent = table.slice(max(0, table.num_rows - _RECENT_EVENTS))
    rows = np.random.default_rng(0).integers(0, recent.num_rows, count)
    users, products = (recent.column(name).to_pylist() for name in ("user_id", "product_id"))
    return [(users[row], products[row]) for row in rows]


def _wait_folded(platform: _Platform, wanted: int) -> int:
    """Return the number of folded events, as soon as it reaches the wanted number, or after a timeout."""
    deadline = time.monotonic() + _CAUGHT_UP_SECONDS
    folded = -1
    while time.monotonic() < deadline and folded < wanted:
        platform.tree.check()
        metrics = platform.client.get(f"{platform.addresses['materializer']}/metrics").raise_for_status().text
        lines = [
            line
            for line in metrics.splitlines()
            if line.startswith('reprise_materializer_events_total{outcome="folded"}')
        ]
        folded = int(float(lines[0].rsplit(" ", 1)[1])) if lines else 0
        time.sleep(0.1)
    return folded


def _keep_serving(platform: _Platform) -> None:
    """Keep streaming and predicting until Ctrl-C, with a status page."""
    tree, paths, options = platform.tree, platform.paths, platform.options
    port = httpx.URL(platform.addresses["producer"]).port
    assert port is not None
    commands.start_producer(tree, paths, options.shop, port, options.rate)
    status = commands.start_status(tree, platform.addresses)
    wait_ready(platform.client, status, tree.check)
    platform.console.print(
        "\nThe platform keeps running: streaming, folding, predicting. Ctrl-C stops all of it."
    )
    platform.console.print(f"  {'status page':12} {status}", highlight=False)
    while True:
        tree.check()
        time.sleep(0.5)


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
