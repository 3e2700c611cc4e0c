"""The demo from start to end."""

import signal
import sys
import time
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
from reprise.cli.demo.event_log import begin_at_the_end, streamed_events
from reprise.cli.demo.latency import measure_freshness, measure_predictions, wait_ready
from reprise.cli.demo.parity import compare_online
from reprise.cli.demo.processes import ProcessTree
from reprise.cli.demo.report import DemoResult, print_page
from reprise.features.discovery.definition import load_definition
from reprise.features.parity.check import check_parity
from reprise.features.plan import Plan
from reprise.log import EventLogSettings

_PREDICTIONS = 2_000
_PROBES = 50
_ONLINE_ROWS = 500
_REFERENCE_ROWS = 60
_CAUGHT_UP_SECONDS = 30.0
_AB_PAIRS = 20_000


@dataclass(frozen=True)
class DemoOptions:
    """What the demo does.

    Attributes:
        folder: Where it keeps what it makes; emptied first.
        definitions: The ``definitions.py`` to plan from.
        shop: The size of the synthetic shop.
        rate: Live events a second.
        live_seconds: How long to stream, at least, before measuring ends.
        keep_serving: Whether to go on until Ctrl-C after the page.
    """

    folder: Path
    definitions: Path
    shop: commands.Shop
    rate: float
    live_seconds: float
    keep_serving: bool


@dataclass(frozen=True)
class _Groups:
    """The consumer groups of this run alone: a Kafka remembers those of earlier runs."""

    prefix: str

    @property
    def materializer(self) -> str:
        return f"{self.prefix}-materializer"

    @property
    def check(self) -> str:
        return f"{self.prefix}-check"


def run_demo(options: DemoOptions) -> int:
    """Run the demo and return its exit status: 0 if everything held.

    Raises:
        DemoError: A step failed.
        KeyboardInterrupt: It was told to stop; everything that it started has ended.
    """
    started = time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    paths = commands.DemoPaths(options.folder.resolve())
    signal.signal(signal.SIGTERM, _interrupt)
    commands.prepare(paths, options.definitions)
    with ProcessTree(paths.logs) as tree, httpx.Client(timeout=10.0) as client:
        log = EventLogSettings.load(log_dir=paths.log)
        groups = _Groups(f"demo-{time.time_ns()}")
        redis_port = _prepare_platform(console, tree, paths, options)
        _prepare_log(console, tree, log, groups)
        addresses = commands.start_services(
            tree, paths, options.shop, redis_port, options.rate, groups.materializer
        )
        for address in addresses.values():
            wait_ready(client, address, tree.check)
        console.print(f"• streaming live events, {options.rate:g} a second")
        result = _measure(client, tree, paths, options, addresses, log, groups, started, redis_port)
        files = {
            "model card": paths.bundle / "model_card.html",
            **({"A/B test": paths.outcomes / "report.html"} if result.ab_test is not None else {}),
            "history": paths.history_report,
            "logs": paths.logs,
        }
        print_page(console, result, addresses, files)
        if options.keep_serving and not result.failures:
            _serve_on(console, client, tree, options, paths, addresses)
    return 1 if result.failures else 0


def _prepare_platform(
    console: Console, tree: ProcessTree, paths: commands.DemoPaths, options: DemoOptions
) -> int:
    shop = options.shop
    console.print(f"• making a history: {shop.users:,} users, {shop.products:,} products, {shop.days} days")
    console.print(f"  {_last_line(commands.make_history(tree, paths, shop))}")
    console.print("• discovering and selecting features on it")
    summary = [line for line in commands.plan_features(tree, paths).splitlines() if "discovered" in line]
    console.print("\n".join(f"  {line}" for line in summary))
    console.print("• training")
    commands.train(tree, paths)
    redis_port, kind = commands.start_redis(tree)
    console.print(f"• filling Redis ({kind}) with the state that the history leaves")
    console.print(f"  {_last_line(commands.fill_store(tree, paths, redis_port))}")
    return redis_port


def _prepare_log(console: Console, tree: ProcessTree, log: EventLogSettings, groups: _Groups) -> None:
    if log.kafka_servers is not None:
        console.print(f"• making the topics in Kafka at {log.kafka_servers}")
        commands.make_topics(tree)
    begin_at_the_end(log, (groups.materializer, groups.check))


def _measure(
    client: httpx.Client,
    tree: ProcessTree,
    paths: commands.DemoPaths,
    options: DemoOptions,
    addresses: dict[str, str],
    log: EventLogSettings,
    groups: _Groups,
    started: float,
    redis_port: int,
) -> DemoResult:
    streaming_since = time.monotonic()
    pairs = _some_pairs(paths.history, max(_PREDICTIONS, _ONLINE_ROWS))
    freshness = measure_freshness(client, addresses["producer"], addresses["predictor"], _PROBES)
    predictions, request, answer = measure_predictions(client, addresses["predictor"], pairs[:_PREDICTIONS])
    # a Kafka that others use too holds their predictions and purchases as well
    tested = log.kafka_servers is None
    if tested:
        _ask_and_buy(client, tree, paths, addresses, redis_port)
    tree.check()
    time.sleep(max(0.0, options.live_seconds - (time.monotonic() - streaming_since)))
    tree.stop("producer")
    streamed = streamed_events(log, groups.check)
    folded = _wait_folded(client, addresses["materializer"], len(streamed), tree)
    plan = Plan.load(paths.plan)
    unknown = [("nobody", pairs[0][1]), (pairs[0][0], "nothing"), ("nobody", "nothing")]
    online = compare_online(
        client, addresses["predictor"], plan, paths.history, streamed, [*pairs[:_ONLINE_ROWS], *unknown]
    )
    offline = check_parity(
        paths.history, plan, load_definition(paths.repository), reference_rows=_REFERENCE_ROWS
    )
    judged = ab_test.judge(tree, paths, redis_port) if tested else None
    evaluation = orjson.loads((paths.bundle / "metadata.json").read_bytes())["evaluation"]
    return DemoResult(
        evaluation=evaluation,
        comparisons=(*offline.comparisons, online),
        history_events=pq.read_metadata(paths.history).num_rows,
        streamed_events=len(streamed),
        folded=folded,
        freshness=freshness,
        predictions=predictions,
        request=request,
        answer=answer,
        ab_test=judged,
        seconds=time.monotonic() - started,
    )


def _ask_and_buy(
    client: httpx.Client,
    tree: ProcessTree,
    paths: commands.DemoPaths,
    addresses: dict[str, str],
    redis_port: int,
) -> None:
    """Let two models answer the same shop's users, and wait until the horizon of the last answer is over."""
    models = BundleStore(str(paths.models))
    digests = commands.train_on_little(tree, paths), models.latest()
    pairs = ab_test.some_pairs(_some_pairs(paths.history, _AB_PAIRS))
    ab_test.ask_and_buy(client, addresses, models, digests, redis_port, pairs)
    time.sleep(ab_test.HORIZON_SECONDS + 2.0)


def _some_pairs(history: Path, count: int) -> list[tuple[str, str]]:
    """Return pairs of the history's latest events, drawn at random: those that a shop would ask about."""
    table = pq.read_table(history, columns=["user_id", "product_id"])
    recent = table.slice(max(0, table.num_rows - 20_000))
    rows = np.random.default_rng(0).integers(0, recent.num_rows, count)
    users, products = (recent.column(name).to_pylist() for name in ("user_id", "product_id"))
    return [(users[row], products[row]) for row in rows]


def _wait_folded(client: httpx.Client, materializer: str, wanted: int, tree: ProcessTree) -> int:
    """Return the number of events that were folded, once it is the number wanted, or does not become it."""
    give_up = time.monotonic() + _CAUGHT_UP_SECONDS
    folded = -1
    while time.monotonic() < give_up:
        tree.check()
        folded = _folded(client.get(f"{materializer}/metrics").raise_for_status().text)
        if folded >= wanted:
            break
        time.sleep(0.1)
    return folded


def _folded(metrics: str) -> int:
    for line in metrics.splitlines():
        if line.startswith('reprise_materializer_events_total{outcome="folded"}'):
            return int(float(line.rsplit(" ", 1)[1]))
    return 0


def _serve_on(
    console: Console,
    client: httpx.Client,
    tree: ProcessTree,
    options: DemoOptions,
    paths: commands.DemoPaths,
    addresses: dict[str, str],
) -> None:
    """Go on streaming and answering until Ctrl-C, with a page that shows it."""
    port = httpx.URL(addresses["producer"]).port
    assert port is not None
    commands.start_producer(tree, paths, options.shop, port, options.rate)
    status = commands.start_status(tree, addresses)
    wait_ready(client, status, tree.check)
    console.print("\nThe platform goes on: streaming, folding, answering. Ctrl-C stops all of it.")
    console.print(f"  {'status page':12} {status}", highlight=False)
    while True:
        tree.check()
        time.sleep(0.5)


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
