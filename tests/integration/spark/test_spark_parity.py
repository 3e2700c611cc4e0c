"""Parity in four ways: Spark answers as DuckDB and the stream, which are the reference's equals (test_parity).

A query on Spark takes seconds, however few its rows, so histories are put together: each has users and products of
its own. ``REPRISE_PARITY_EXAMPLES`` multiplies them, up to 25 times.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reprise.bundle import BundleStore
from reprise.events import Event, event_key
from reprise.events.event import ERASED_PREFIX
from reprise.features.exceptions import ExecutorUnavailableError, FeatureEngineError
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.plan_executor import PlanExecutor
from reprise.features.executors.spark import SparkExecutor
from reprise.features.parity.comparison import (
    TOLERANCE,
    batch_inputs,
    compare,
    compare_lists,
    feature_scales,
)
from reprise.features.training_rows import build_training_rows
from reprise.runtime.durations import EPOCH, microseconds
from reprise.scoring.main import demand_command as demand
from reprise.scoring.main import retention_command as retention
from reprise.scoring.main import score_command as score
from reprise.store.online_store import OnlineStore
from support.collection import SOAK
from support.discovered import full_plan
from support.embedded_shop import EmbeddedShop
from support.hard_histories import (
    DAY_US,
    HARD_CASES,
    NOW,
    YEAR_US,
    Request,
    every_pair_at,
    histories,
    largest_amount,
    purchase,
    random_history,
    request_frame,
    requests_about,
    requests_at,
    view,
)
from support.histories import assert_store_holds, batch_states, entity_states, event_table, make_events
from support.parity import answers, state_mismatches
from support.plans import checked_in_plan
from support.redis import RedisServer
from support.s3 import s3_bucket
from support.served_bundles import bundle_files, logistic_graph, small_plan

pytestmark = pytest.mark.slow

HADOOP_AWS = Path(__file__).parents[3] / ".ci/hadoop-aws"
PLAN = checked_in_plan()
DOSE = min(int(os.environ.get("REPRISE_PARITY_EXAMPLES", "1")), 25)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_bucket("spark") as url:
        yield url


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> Iterator[SparkExecutor]:
    settings_folder = tmp_path_factory.mktemp("spark")
    fetched = subprocess.run([HADOOP_AWS], capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"{fetched.stderr} (make test-tools)")
    # Few rows: one task for each step, no new plan after each, and a compiler that starts fast
    (settings_folder / "spark-defaults.conf").write_text(
        "spark.sql.shuffle.partitions 1\n"
        f"spark.sql.adaptive.enabled {str(SOAK).lower()}\n"
        "spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC\n"
        f"spark.driver.extraClassPath {fetched.stdout.strip()}/*\n"
        f"spark.hadoop.fs.s3a.endpoint {os.environ['AWS_ENDPOINT_URL']}\n"
        "spark.hadoop.fs.s3a.path.style.access true\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(settings_folder))
        try:
            executor = SparkExecutor(PLAN, master="local[2]", memory_limit="1GiB", bucket_rows=40)
        except ExecutorUnavailableError as error:
            pytest.skip(f"{error} (make test-tools)")
        with executor as shared:
            yield shared


@pytest.fixture(scope="module")
def duckdb() -> Iterator[BatchExecutor]:
    with BatchExecutor(PLAN) as shared:
        yield shared


def with_own_ids(label: str, events: Sequence[Event], requests: Sequence[Request]) -> tuple[list, list]:
    """Return a history and requests about it that share no id with those of other labels."""

    def own(each: Any, *names: str) -> Any:
        return replace(each, **{name: f"{label}/{getattr(each, name)}" for name in names})

    ids = ("user_id", "product_id")
    return [own(each, "event_id", *ids) for each in events], [own(each, *ids) for each in requests]


def assert_four_ways_the_same(
    spark: SparkExecutor, duckdb: BatchExecutor, events: Sequence[Event], requests: Sequence[Request]
) -> None:
    found = answers(duckdb, PLAN, events, requests)
    spark.load_events(event_table(events))
    on_spark = batch_inputs(spark, PLAN, request_frame(requests))
    for other in (found.batch, found.stream):
        comparison = compare("Spark and other", PLAN.input_names, on_spark, other, found.scales())
        assert [str(mismatch) for mismatch in comparison.mismatches] == []
        assert comparison.worst <= TOLERANCE
        assert comparison.compared == len(requests) * len(PLAN.inputs)


def assert_states_are_the_same(spark: SparkExecutor, duckdb: BatchExecutor, largest: float) -> None:
    for entity in PLAN.entities:
        left, right = entity_states(spark, entity), entity_states(duckdb, entity)
        assert state_mismatches(entity, left, right, largest) == []


@pytest.mark.soak
def test_hard_cases_and_their_states_are_the_same(spark: SparkExecutor, duckdb: BatchExecutor) -> None:
    events: list[Event] = []
    requests: list[Request] = []
    for label, case in HARD_CASES.items():
        instants = sorted({event.timestamp_us for event in case})
        asked = {instants[0], instants[len(instants) // 2], instants[-1], instants[-1] + 1}
        own, about = with_own_ids(label, case, every_pair_at(sorted(asked | {instants[-1] + YEAR_US})))
        events, requests = events + own, requests + about
    # More half-lives than a double can hold: every key's past is in buckets
    assert max(e.timestamp_us for e in events) - min(e.timestamp_us for e in events) > 512 * 7 * DAY_US
    assert_four_ways_the_same(spark, duckdb, events, requests)
    assert_states_are_the_same(spark, duckdb, largest_amount(events))


@pytest.mark.soak
@settings(
    max_examples=2 * DOSE,
    derandomize=DOSE == 1,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_drawn_histories_are_the_same(
    spark: SparkExecutor, duckdb: BatchExecutor, data: st.DataObject
) -> None:
    events: list[Event] = []
    requests: list[Request] = []
    for number in range(data.draw(st.integers(1, 4), label="histories")):
        drawn = data.draw(histories(), label="events")
        own, about = with_own_ids(str(number), drawn, data.draw(requests_about(drawn), label="requests"))
        events, requests = events + own, requests + about
    assert_four_ways_the_same(spark, duckdb, events, requests)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(DOSE))
def test_a_dense_history_its_states_and_lists_are_the_same(
    spark: SparkExecutor, duckdb: BatchExecutor, seed: int
) -> None:
    events = random_history(seed, 600, users=12, products=6, years=(3.0, 0.001, 20.0)[seed % 3])
    events[1] = replace(events[1], event_id=f"reprise-erased-{event_key('former'):015x}-0")
    events[2] = replace(events[2], event_id="ünïcode ✓ 'quoted' \\ ")
    assert_four_ways_the_same(spark, duckdb, events, requests_at(events, seed))
    assert_states_are_the_same(spark, duckdb, largest_amount(events))
    assert compare_lists(spark, PLAN, events).mismatches == ()
    loaded = spark.events()
    assert loaded["event_key"].to_pylist() == [event_key(each) for each in loaded["event_id"].to_pylist()]
    assert loaded.equals(duckdb.events().cast(loaded.schema))


@pytest.mark.soak
@pytest.mark.parametrize("years", [20.0, 1.0])
@pytest.mark.usefixtures("spark")
def test_every_feature_of_a_past_in_many_buckets_is_the_same(years: float) -> None:
    plan = full_plan()
    events = random_history(5, 400, users=5, products=4, years=years)
    with (
        BatchExecutor(plan) as duckdb,
        SparkExecutor(plan, bucket_rows=10) as all_features,
    ):
        found = answers(duckdb, plan, events, requests_at(events, 5))
        all_features.load_events(event_table(events))
        on_spark = batch_inputs(all_features, plan, request_frame(requests_at(events, 5)))
    comparison = compare("Spark and batch", plan.input_names, on_spark, found.batch, found.scales())
    assert [str(mismatch) for mismatch in comparison.mismatches] == []


def test_only_the_first_row_of_an_event_id_before_an_instant_is_loaded(
    spark: SparkExecutor, duckdb: BatchExecutor
) -> None:
    first, replayed = view(NOW), replace(purchase(NOW, 9.0), event_id=view(NOW).event_id)
    late = [view(NOW + 2 * DAY_US, number=2), view(NOW + 1, number=1), view(NOW + DAY_US, number=3)]
    table = event_table([first, *late, replayed])

    def loaded(executor: PlanExecutor) -> tuple[int, pa.Table]:
        return executor.load_events(table, before_us=NOW + DAY_US), executor.events()

    (count, on_spark), (expected_count, expected) = loaded(spark), loaded(duckdb)
    assert (count, on_spark["event_type"].to_pylist()) == (2, ["view", "view"])
    assert (expected_count, expected.equals(on_spark.cast(expected.schema))) == (2, True)


def test_what_a_snapshot_has_besides_states_is_the_same(spark: SparkExecutor, duckdb: BatchExecutor) -> None:
    table = event_table(random_history(11, 300, users=9, products=7))

    def known(executor: PlanExecutor) -> tuple[dict[bool, int], list[dict[str, object]]]:
        executor.load_events(table)
        pairs = executor.known_pairs().read_all().to_pylist()
        return executor.expected_idle(), sorted(pairs, key=lambda each: (each["user_id"], each["product_id"]))

    expected, pairs = known(duckdb)
    assert known(spark) == (expected, pairs)
    assert set(expected) == {False, True}
    assert len(pairs) > 20


def test_a_failure_of_spark_is_a_feature_engine_error(spark: SparkExecutor, tmp_path: Path) -> None:
    events = event_table([view(NOW)])
    pq.write_table(events, tmp_path / "events.parquet")
    content = (tmp_path / "events.parquet").read_bytes()
    (tmp_path / "events.parquet").write_bytes(
        content[:4] + bytes(len(content) // 4) + content[4 + len(content) // 4 :]
    )
    with pytest.raises(FeatureEngineError, match="Spark failed: "):
        spark.load_events(tmp_path / "events.parquet")


def test_a_table_that_is_made_again_by_the_same_query_stays_in_memory(spark: SparkExecutor) -> None:
    for _ in range(2):
        spark._create("numbers", "SELECT id FROM range(10)")
    assert spark._tables["numbers"].storageLevel.useMemory


@pytest.mark.usefixtures("spark")
def test_a_file_of_events_is_copied_once_for_several_instants(tmp_path: Path) -> None:
    history = tmp_path / "events.parquet"
    pq.write_table(event_table([view(NOW), purchase(NOW + DAY_US, 9.0)]), history)
    with SparkExecutor(PLAN, files=str(tmp_path)) as executor:
        assert [executor.load_events(history, before_us=NOW + each) for each in (1, 2 * DAY_US)] == [1, 2]
        assert len([*tmp_path.glob("reprise-spark-*/*.parquet")]) == 1
    assert [*tmp_path.iterdir()] == [history]


def returned(events: Sequence[Event]) -> list[Event]:
    """Return a history in which every third purchase is returned a day later."""
    purchases = [each for each in events if each.event_type == "purchase"][::3]
    returned = {"event_type": "return", "amount": None}
    return [
        *events,
        *(
            replace(each, event_id=f"{each.event_id}-r", timestamp_us=each.timestamp_us + DAY_US, **returned)
            for each in purchases
        ),
    ]


@pytest.mark.parametrize(
    ("size", "files"),
    [
        pytest.param(50_000, None, marks=pytest.mark.soak),
        pytest.param(3_000, None, marks=pytest.mark.soak),
        (3_000, "{bucket}/files"),
        pytest.param(3_000, "file://{folder}", marks=pytest.mark.soak),
    ],
)
def test_training_rows_are_the_same(
    spark: SparkExecutor, bucket: str, tmp_path: Path, size: int, files: str | None
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    place = files and files.format(bucket=bucket, folder=shared)
    on_files = partial(SparkExecutor, bucket_rows=40, files=place)
    history = returned(random_history(3, size, users=size // 50, products=30))
    pq.write_table(event_table(history), tmp_path / "events.parquet")
    tables, reports = [], []
    for name, open_executor in (("spark", on_files), ("duckdb", BatchExecutor)):
        source, out, days = tmp_path / "events.parquet", tmp_path / f"{name}.parquet", timedelta(days=1)
        options = {"refund_window": 2 * days, "questions": True, "further": (7 * days,)}
        reports.append(
            build_training_rows(source, out, PLAN, 30 * days, **options, open_executor=open_executor)
        )
        tables.append(pq.read_table(out).to_pandas())
    assert reports[0] == reports[1]
    assert reports[0].positive > size // 100
    on_spark, expected = (table.sort_values(["timestamp", "event_id", "asked"]) for table in tables)
    names = list(PLAN.input_names)
    exact = [name for name in expected.columns if name not in names]
    assert on_spark[exact].reset_index(drop=True).equals(expected[exact].reset_index(drop=True))
    numbers = expected[names].to_numpy()
    scales = feature_scales(PLAN, names, numbers, largest_amount(history))
    comparison = compare("Spark and DuckDB", names, on_spark[names].to_numpy(), numbers, scales)
    assert [str(mismatch) for mismatch in comparison.mismatches] == []
    assert [*shared.iterdir()] == []
    s3fs.S3FileSystem.clear_instance_cache()
    assert s3fs.S3FileSystem().find(bucket, withdirs=True) == []


@pytest.mark.redis
@pytest.mark.usefixtures("spark")
def test_a_backfill_on_spark_leaves_the_rows_of_duckdb_and_the_stream_goes_on(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    shop, events = EmbeddedShop(tmp_path, redis_server), make_events(300)
    shop.append(events[:200])
    shop.archive()
    shop.append(events[200:])
    spark = ("--executor", "auto", "--duckdb-max-events", "199", "--spark-master", "local[2]")
    done = shop.backfill("--offline", shop.offline, *spark, "--spark-files", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert done.output.startswith("200 events on Spark: wrote 12 of user_state, 8 of product_state, ")
    with OnlineStore.connect(redis_server.settings()) as online:
        assert assert_store_holds(online, PLAN, batch_states(PLAN, events[:200])) > 100
        assert shop.fold()["folded"] == 100
        assert_store_holds(online, PLAN, batch_states(PLAN, events))
    assert not [*tmp_path.glob("reprise-spark-*")]


@pytest.fixture(scope="module")
def scored_shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A history with a product of most events, a repeated id and an erased user, and models of every input."""
    folder, plan = tmp_path_factory.mktemp("scored"), PLAN if SOAK else small_plan()
    events = random_history(7, 1_500, users=40, products=15, years=0.5)
    at = EPOCH + timedelta(microseconds=events[1_300].timestamp_us)
    hot = [
        replace(each, event_id=f"hot-{number}", product_id="product-0", event_type="view", amount=None)
        for number, each in enumerate(2 * events)
    ]
    again = replace(events[100], user_id="user-2", product_id="product-3", event_type="purchase", amount=1e6)
    erased = replace(events[101], event_id="erased", user_id=f"{ERASED_PREFIX}1", event_type="purchase")
    table = event_table([*events, again, erased, *hot])
    pq.write_table(table, folder / "events.parquet")
    with BatchExecutor(plan) as executor:
        executor.load_events(table, before_us=microseconds(at - EPOCH))
        [pairs] = executor.load_pairs(10_000)
        batches = executor.with_inputs(executor.pair_rows(0, microseconds(at - EPOCH)))
        inputs = np.nan_to_num(np.concatenate([inputs for _, inputs in batches]))
    assert len(inputs) == pairs > 300
    weights = np.random.default_rng(0).normal(size=inputs.shape[1]) / np.maximum(inputs.std(axis=0), 1e-9) / 4
    by_name = dict(zip(plan.input_names, weights, strict=True))
    users = logistic_graph(by_name, 0.0, tuple(each.name for each in plan.user.inputs))
    bias = float(-inputs.mean(axis=0) @ weights)
    store = BundleStore(str(folder / "models"))
    store.set_latest(store.publish(bundle_files(plan, weights=by_name, bias=bias, users=(users, users))))
    return ("--events", str(folder / "events.parquet"), "--model-store", store.url, "--at", at.isoformat())


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (score, ("--chunk", "300")),
        pytest.param(demand, ("--backtests", "1", "--chunk", "150"), marks=pytest.mark.soak),
        pytest.param(retention, ("--backtests", "1"), marks=pytest.mark.soak),
    ],
)
@pytest.mark.usefixtures("spark")
def test_results_are_the_same(
    scored_shop: tuple[str, ...], tmp_path: Path, command: click.Command, options: tuple[str, ...]
) -> None:
    def run(name: str, *executor: str) -> Result:
        words = (*scored_shop, "--out", str(tmp_path / name), *options, *executor)
        return CliRunner(env={"REPRISE_PROGRESS": "off"}).invoke(command, words, catch_exceptions=False)

    auto = ("--duckdb-max-events", "4000", "--spark-master", "local[2]")
    assert "Spark's files have no folder" in run("spark", *auto, "--spark-files", "missing").output
    outputs, tables = [], []
    for name, executor in (("spark", auto), ("duckdb", ())):
        done = run(name, *executor)
        assert done.exit_code == 0, done.output
        outputs.append(done.output)
        tables.append([pq.read_table(path) for path in sorted((tmp_path / name).rglob("*.parquet"))])
    assert [" on Spark" in each for each in outputs] == [command is score, False]
    assert len(tables[0]) == len(tables[1]) == (2 if command is score else 1)
    for on_spark, expected in zip(*tables, strict=True):
        assert on_spark.schema == expected.schema
        for name in expected.column_names:
            if pa.types.is_floating(expected.schema.field(name).type):
                np.testing.assert_allclose(on_spark[name], expected[name], rtol=1e-9, atol=1e-6)
            else:
                assert on_spark[name].equals(expected[name])
