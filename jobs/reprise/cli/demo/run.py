"""The demo from start to end."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import orjson
import pyarrow.parquet as pq
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from reprise.bundle import BundleStore
from reprise.cli.demo import ab_test, commands
from reprise.cli.demo.latency import measure_freshness, measure_predictions, wait_ready
from reprise.cli.demo.parity import compare_online
from reprise.cli.demo.processes import ProcessTree
from reprise.cli.demo.report import DemoResult, print_report
from reprise.cli.demo.waiting import NotReadyError, wait_until
from reprise.events import Event, InvalidEventError, decode_event
from reprise.features.discovery.definition import load_definition
from reprise.features.parity.check import check_parity
from reprise.features.plan import Plan
from reprise.log import EVENTS, EventLogSettings, LogConsumer, open_consumer
from reprise.runtime.signals import interrupt_on_signals

_PREDICTIONS = 2_000
_PROBES = 50
_ONLINE_ROWS = 500
_REFERENCE_ROWS = 60
_CAUGHT_UP_SECONDS = 30.0
_AB_PAIRS = 20_000
_RECENT_EVENTS = 20_000
_MAX_RECORDS = 10_000
_LOG_SECONDS = 60.0


@dataclass(frozen=True)
class DemoOptions(commands.Shop):
    """Options of the demo, as the command's help describes them."""

    folder: Path
    definitions: Path
    rate: float
    live: float
    keep_serving: bool


def run_demo(options: DemoOptions) -> int:
    """Run the demo and return its exit status: 0 if every check passed.

    Raises:
        DemoError: A step failed.
        EventLogError: The event log cannot be used.
        KeyboardInterrupt: It was stopped by a signal; every process that it started has ended.
    """
    started = time.monotonic()
    paths = commands.DemoPaths(options.folder.resolve())
    with ProcessTree(paths.logs) as tree, httpx.Client(timeout=10.0) as client, interrupt_on_signals():
        commands.prepare(paths, options.definitions)
        demo = _Demo(client, tree, options, paths)
        demo.start()
        result = demo.measure(started)
        files = {
            "model card": paths.bundle / "model_card.html",
            "report": paths.scores / "report.html",
            **({"A/B test": paths.outcomes / "report.html"} if result.ab_test is not None else {}),
            "history": paths.history_report,
            "logs": paths.logs,
        }
        print_report(demo.console, result, demo.addresses, files)
        if options.keep_serving and not result.failures:
            demo.keep_serving()
    return 1 if result.failures else 0


class _Demo:
    """The running platform, and consumer groups of this run alone: a Kafka remembers those of earlier runs."""

    def __init__(
        self, client: httpx.Client, tree: ProcessTree, options: DemoOptions, paths: commands.DemoPaths
    ) -> None:
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        self.client = client
        self.tree = tree
        self.options = options
        self.paths = paths
        self.log = EventLogSettings.load(log_dir=paths.log)
        self.group = f"demo-{time.time_ns()}"
        self.redis_port = 0
        self.addresses: Mapping[str, str] = {}

    def start(self) -> None:
        """Make a history and a model of it, and start the services."""
        tree, options, show = self.tree, self.options, self.console.print
        size = f"{options.users:,} users, {options.products:,} products, {options.days} days"
        show(f"• making a history: {size}")
        show(f"  {_last_line(self.run('datagen'))}")
        show("• discovering and selecting features on it")
        summary = self.run("features-plan").splitlines()
        show("\n".join(f"  {line}" for line in summary if "discovered" in line))
        show("• training")
        self.run("train")
        self.redis_port, kind = commands.start_redis(tree)
        show(f"• filling Redis ({kind}) with the state of the history")
        show(f"  {_last_line(self.run('backfill', commands.redis_environment(self.redis_port)))}")
        if self.log.kafka_servers is not None:
            show(f"• creating the topics in Kafka at {self.log.kafka_servers}")
            self.run("topics")
        materializer = f"{self.group}-materializer"
        _commit_end_offsets(self.log, (materializer, f"{self.group}-check"))
        self.addresses = commands.start_services(
            tree, self.paths, options, self.redis_port, options.rate, materializer
        )
        for address in self.addresses.values():
            wait_ready(self.client, address, tree.check)
        show(f"• streaming live events, {options.rate:g} per second")

    def run(self, step: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a step to its end and return its output."""
        return self.tree.run(step, commands.steps(self.paths, self.options)[step], environment)

    def measure(self, started: float) -> DemoResult:
        """Measure and check the platform while events stream, and return the results."""
        client, tree, paths, addresses = self.client, self.tree, self.paths, self.addresses
        streaming_since = time.monotonic()
        pairs = self._some_pairs(max(_PREDICTIONS, _ONLINE_ROWS))
        freshness = measure_freshness(client, addresses["producer"], addresses["predictor"], _PROBES)
        predictions, request, response = measure_predictions(
            client, addresses["predictor"], pairs[:_PREDICTIONS]
        )
        # a shared Kafka holds other predictions and purchases as well
        tests_models = self.log.kafka_servers is None
        if tests_models:
            self._simulate_users()
        tree.check()
        time.sleep(max(0.0, self.options.live - (time.monotonic() - streaming_since)))
        tree.stop("producer")
        streamed = _streamed_events(self.log, f"{self.group}-check")
        folded = self._wait_folded(len(streamed))
        plan = Plan.load(paths.plan)
        definition = load_definition(paths.repository)
        offline = check_parity(paths.history, plan, definition, reference_rows=_REFERENCE_ROWS)
        unknown = [("nobody", pairs[0][1]), (pairs[0][0], "nothing"), ("nobody", "nothing")]
        online = compare_online(
            client, addresses["predictor"], plan, paths.history, streamed, [*pairs[:_ONLINE_ROWS], *unknown]
        )
        demand, retention = self._nightly()
        return DemoResult(
            metadata=orjson.loads((paths.bundle / "metadata.json").read_bytes()),
            demand=demand,
            retention=retention,
            comparisons=(*offline.comparisons, online),
            history_events=pq.read_metadata(paths.history).num_rows,
            streamed_events=len(streamed),
            folded=folded,
            freshness=freshness,
            predictions=predictions,
            request=request,
            response=response,
            buy_again=self._buy_again(pairs),
            ab_test=self._compare_arms() if tests_models else None,
            seconds=time.monotonic() - started,
        )

    def keep_serving(self) -> None:
        """Keep streaming and predicting until Ctrl-C, with a status page that has the report."""
        port = httpx.URL(self.addresses["producer"]).port
        commands.start_producer(self.tree, self.paths, self.options, self.options.rate, port)
        targets = ",".join(
            f"{name}={self.addresses[name]}" for name in ("predictor", "producer", "materializer")
        )
        polling = {"STATUS_TARGETS": targets, "STATUS_INTERVAL_SECONDS": "2", "STATUS_TITLE": "demo"}
        polling["STATUS_SCORES"] = str(self.paths.scores)
        status = self.tree.serve("status", ["status"], polling)
        wait_ready(self.client, status, self.tree.check)
        self.console.print(
            "\nThe platform keeps running: streaming, folding, predicting. Ctrl-C stops all of it."
        )
        self.console.print(f"  {'status page':12} {status}")
        while True:
            self.tree.check()
            time.sleep(0.5)

    def _simulate_users(self) -> None:
        models = BundleStore(str(self.paths.models))
        output = self.run("train-on-little")
        weaker = next(line.split()[1] for line in output.splitlines() if line.startswith("bundle"))
        pairs = ab_test.some_pairs(self._some_pairs(_AB_PAIRS))
        digests = weaker, models.latest()
        ab_test.simulate_users(self.client, self.addresses, models, digests, self.redis_port, pairs)
        time.sleep(commands.HORIZON_SECONDS + 2.0)

    def _buy_again(self, pairs: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
        """Return the list of the first of some users who has one, and the user."""
        for user_id in dict.fromkeys(user for user, _ in pairs):
            url = f"{self.addresses['predictor']}/users/{quote(user_id, safe='')}/buy-again?limit=5"
            found: Mapping[str, Any] = self.client.get(url).raise_for_status().json()
            if found["results"]:
                return {"user_id": user_id, **found}
        return {"user_id": pairs[0][0], "results": []}

    def _nightly(self) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Run the nightly job; return the manifests of demand, with its products by revenue, and retention."""
        self.run("nightly")
        [path] = self.paths.scores.glob("demand-*.json")
        demand = orjson.loads(path.read_bytes())
        table = pq.read_table(self.paths.scores / demand["file"])
        demand["by_revenue"] = table.sort_by([("revenue", "descending")]).to_pylist()
        users = [
            orjson.loads(each.read_bytes()) for each in self.paths.scores.glob("retention/*/*/_manifest.json")
        ]
        return demand, users[0] if users else None

    def _compare_arms(self) -> Mapping[str, Any]:
        self.run("archive", {"REPRISE_LOG_DIR": str(self.paths.log), "LOG_LEVEL": "warning"})
        redis = commands.redis_environment(self.redis_port)
        self.run("outcomes", redis | {"OUTCOMES_MIN_USERS": "100", "OUTCOMES_IN_FLIGHT": "5s"})
        ab_test.publish(2, (), self.redis_port)
        report: Mapping[str, Any] = orjson.loads((self.paths.outcomes / "report.json").read_bytes())
        return report

    def _some_pairs(self, count: int) -> list[tuple[str, str]]:
        table = pq.read_table(self.paths.history, columns=["user_id", "product_id"])
        recent = table.slice(max(0, table.num_rows - _RECENT_EVENTS))
        rows = np.random.default_rng(0).integers(0, recent.num_rows, count)
        users, products = (recent.column(name).to_pylist() for name in ("user_id", "product_id"))
        return [(users[row], products[row]) for row in rows]

    def _wait_folded(self, wanted: int) -> int:
        folded = 0

        def all_folded() -> bool:
            nonlocal folded
            self.tree.check()
            metrics = self.client.get(f"{self.addresses['materializer']}/metrics").raise_for_status().text
            samples = [s for family in text_string_to_metric_families(metrics) for s in family.samples]
            name, labels = "reprise_materializer_events_total", {"outcome": "folded"}
            folded = int(sum(s.value for s in samples if (s.name, s.labels) == (name, labels)))
            return folded >= wanted

        with suppress(NotReadyError):  # the report shows the difference
            wait_until(all_folded, _CAUGHT_UP_SECONDS, "events are not folded")
        return folded


def _last_line(output: str) -> str:
    return next((line for line in reversed(output.splitlines()) if line.strip()), "")


def _commit_end_offsets(log: EventLogSettings, groups: Iterable[str]) -> None:
    """Commit the end offsets for these groups, so that they read only new records."""
    for group in groups:
        with closing(open_consumer(log, EVENTS, group)) as consumer:
            assigned = partial(_poll, consumer, 1, {})
            wait_until(assigned, _LOG_SECONDS, "the event log assigned no partitions", every=0)
            consumer.commit(consumer.end_offsets())


def _streamed_events(log: EventLogSettings, group: str) -> list[Event]:
    """Return the distinct valid events that the group has not read yet."""
    events: dict[str, Event] = {}
    with closing(open_consumer(log, EVENTS, group)) as consumer:

        def all_read() -> bool:
            return _poll(consumer, _MAX_RECORDS, events) and consumer.positions() == consumer.end_offsets()

        wait_until(all_read, _LOG_SECONDS, "the event log did not return its events", every=0)
    return list(events.values())


def _poll(consumer: LogConsumer, max_records: int, events: dict[str, Event]) -> bool:
    for records in consumer.poll(max_records, 0.2).values():
        for record in records:
            with suppress(InvalidEventError):
                event = decode_event(record.value)
                events.setdefault(event.event_id, event)
    return len(consumer.assignment) == consumer.partitions
