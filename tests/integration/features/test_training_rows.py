"""Training rows: exact labels, strictly the past, and the same bits every time."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from reprise.events import Event
from reprise.features.exceptions import FeatureEngineError
from reprise.features.executors.batch import BatchExecutor
from reprise.features.parity.comparison import compare, feature_scales
from reprise.features.training_rows import TrainingRowsReport, build_training_rows, training_schema
from support.collection import SOAK
from support.hard_histories import largest_amount, random_history
from support.histories import event_table
from support.plans import checked_in_plan

PLAN = checked_in_plan()
DAY_US = 86_400_000_000
HORIZON = timedelta(days=30)
HORIZON_US = 30 * DAY_US
START = 1_760_000_000_000_000


def event(
    kind: str, at_us: int, *, user: str = "u", product: str = "p", amount: float | None = None
) -> Event:
    return Event(f"{kind}-{user}-{product}-{at_us}", user, product, kind, START + at_us, amount)


def built(
    folder: Path, events: Sequence[Event], *, horizon: timedelta = HORIZON, memory_limit: str = "1GiB"
) -> tuple[pa.Table, TrainingRowsReport]:
    source, out = folder / "events.parquet", folder / "rows.parquet"
    pq.write_table(event_table(events), source)
    report = build_training_rows(source, out, PLAN, horizon, memory_limit=memory_limit, temp_directory=folder)
    return pq.read_table(out), report


def column(table: pa.Table, name: str, events: Sequence[Event]) -> list[Any]:
    """Return the values of a column for some events."""
    values = dict(zip(table["event_id"].to_pylist(), table[name].to_pylist(), strict=True))
    return [values[each.event_id] for each in events]


END = event("view", 10 * HORIZON_US, user="end", product="end")
"""Far enough ahead for every other row's horizon to be over."""


def test_the_label_looks_ahead_from_just_after_the_row_up_to_and_with_the_horizon(tmp_path: Path) -> None:
    cases = {0: False, 1: True, HORIZON_US - 1: True, HORIZON_US: True, HORIZON_US + 1: False}
    views = [event("view", 0, product=f"after {after}") for after in cases]
    purchases = [event("purchase", after, product=f"after {after}") for after in cases]
    table, _ = built(tmp_path, [*views, *purchases, END])
    assert column(table, "label", views) == list(cases.values())


def test_only_a_later_purchase_of_the_same_user_and_product_makes_the_label(tmp_path: Path) -> None:
    viewed, bought_once = event("view", 0), event("purchase", 0, product="once")
    others = [
        event("purchase", DAY_US, product="other"),
        event("purchase", DAY_US, user="other"),
        event("view", DAY_US),
    ]
    table, _ = built(tmp_path, [viewed, bought_once, *others, END])
    assert column(table, "label", [viewed, bought_once]) == [False, False]


@pytest.mark.parametrize(("history_us", "known"), [(HORIZON_US - 1, False), (HORIZON_US, True)])
def test_the_label_is_null_until_the_horizon_is_over(tmp_path: Path, history_us: int, known: bool) -> None:
    viewed, last = event("view", 0), event("view", history_us, user="end")
    table, _ = built(tmp_path, [viewed, last])
    assert column(table, "label", [viewed, last]) == [False if known else None, None]


def test_a_label_that_could_already_be_true_is_null_as_well(tmp_path: Path) -> None:
    """Else the last month would have rows with a true label and none with a false one."""
    viewed, bought = event("view", 0), event("purchase", DAY_US)
    table, _ = built(tmp_path, [viewed, bought])
    assert column(table, "label", [viewed]) == [None]


def test_a_repeat_candidate_has_an_earlier_purchase_of_the_pair(tmp_path: Path) -> None:
    events = [
        event("view", 0),
        event("purchase", DAY_US),
        event("view", DAY_US),
        event("view", DAY_US + 1),
        event("view", 2 * DAY_US, product="other"),
        event("view", 2 * DAY_US, user="other"),
    ]
    table, report = built(tmp_path, events)
    assert column(table, "repeat_candidate", events) == [False, False, False, True, False, False]
    assert report.repeat_candidates == 1


def test_features_see_only_what_came_strictly_before_the_row_whose_own_event_is_the_request(
    tmp_path: Path,
) -> None:
    events = [
        event("purchase", 0, amount=10.0),
        event("purchase", 0, product="q", amount=20.0),
        event("purchase", 1, amount=40.0),
        event("view", 2),
    ]
    table, _ = built(tmp_path, events)
    assert column(table, "total_spend", events) == [0.0, 0.0, 30.0, 70.0]
    assert column(table, "request_amount", events) == [10.0, 20.0, 40.0, None]
    assert column(table, "request_is_purchase", events) == [1.0, 1.0, 1.0, 0.0]


def test_rows_are_one_for_each_event_that_makes_features_in_order_of_time(tmp_path: Path) -> None:
    events = [event("view", 5), event("cart", 3), event("purchase", 1), event("view", 9)]
    table, report = built(tmp_path, events)
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [START + 1, START + 5, START + 9]
    assert table["event_type"].to_pylist() == ["purchase", "view", "view"]
    assert report.rows == 3
    assert table.schema.equals(training_schema(PLAN))
    first = ["event_id", "user_id", "product_id", "event_type", "timestamp", "amount"]
    assert table.column_names == [*first, *PLAN.input_names, "label", "repeat_candidate"]


def test_missing_inputs_are_null_and_never_nan(tmp_path: Path) -> None:
    table, _ = built(tmp_path, random_history(1, 50))
    assert not any(pc.any(pc.is_nan(table[name])).as_py() for name in PLAN.input_names)
    assert table["days_since_last_purchase"].null_count > 0


def test_the_first_of_a_duplicated_event_counts(tmp_path: Path) -> None:
    first, second = event("purchase", 0, amount=5.0), event("purchase", 0, amount=500.0)
    later = event("view", 1)
    table, report = built(tmp_path, [first, second, later])
    assert report.rows == 2
    assert table["total_spend"].to_pylist() == [0.0, 5.0]


def test_the_report_counts_what_was_written(tmp_path: Path) -> None:
    table, report = built(tmp_path, random_history(2, 400, years=0.5))
    label = table["label"]
    assert report.rows == table.num_rows == 400
    assert report.labelled == len(label) - label.null_count > 0
    assert report.positive == sum(label.drop_null().to_pylist()) > 0
    assert report.repeat_candidates == sum(table["repeat_candidate"].to_pylist()) > 0
    assert f"{report.rows:,} rows" in str(report)


def test_csv_holds_the_same_rows(tmp_path: Path) -> None:
    events = random_history(3, 60)
    table, _ = built(tmp_path, events)
    out = tmp_path / "rows.csv"
    build_training_rows(tmp_path / "events.parquet", out, PLAN, HORIZON)
    types = dict.fromkeys(("amount", *PLAN.input_names), pa.float64())
    read = pacsv.read_csv(out, convert_options=pacsv.ConvertOptions(column_types=types))
    assert read.column_names == table.column_names
    for name in ("event_id", *PLAN.input_names, "label", "repeat_candidate"):
        assert read[name].to_pylist() == table[name].to_pylist(), name


def test_events_of_one_instant_make_the_same_bits_every_time(tmp_path: Path) -> None:
    """Histories that know only the date tie everywhere; sums must still be added up in one order."""
    count, users, years = (30_000, 400, 0.2) if SOAK else (10_000, 100, 0.1)
    events = [
        replace(each, timestamp_us=each.timestamp_us // DAY_US * DAY_US)
        for each in random_history(4, count, users=users, products=30, years=years)
    ]
    first, _ = built(tmp_path, events)
    for _ in range(2 if SOAK else 1):
        assert built(tmp_path, events)[0].equals(first)


def test_spilling_to_disk_gives_the_same_rows(tmp_path: Path) -> None:
    events = random_history(5, 60_000, users=2_000, products=200, years=1.0)
    roomy, _ = built(tmp_path, events, memory_limit="2GiB")
    spilled: set[str] = set()

    def look(_: int) -> None:
        spilled.update(path.name for path in tmp_path.glob("reprise-batch-*/*"))

    source, out = tmp_path / "events.parquet", tmp_path / "tight.parquet"
    tight = {"memory_limit": "100MiB", "temp_directory": tmp_path}
    at_once = partial(BatchExecutor, part_rows=len(events))
    build_training_rows(source, out, PLAN, HORIZON, **tight, open_executor=at_once, advance=look)
    assert spilled, "the memory limit was too generous for this test to say anything"
    assert pq.read_table(out).equals(roomy)
    assert list(tmp_path.glob("reprise-batch-*")) == []


def test_more_rows_than_memory_holds_are_computed_in_parts_and_are_the_same(tmp_path: Path) -> None:
    events = random_history(6, 40_000, users=2_000, products=200, years=1.0)
    source, out = tmp_path / "events.parquet", tmp_path / "rows.parquet"
    pq.write_table(event_table(events), source)
    options = {"questions": True, "further": (timedelta(days=7),)}
    queries: list[str] = []

    class Recording(BatchExecutor):
        def _run(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            queries.append(statement)
            return super()._run(statement, parameters)

    tables, reports = [], []
    for memory_limit in ("4GiB", "100MiB"):
        assert not any(query.startswith("INSERT") for query in queries)
        limits = {"memory_limit": memory_limit, "temp_directory": tmp_path}
        reports.append(
            build_training_rows(source, out, PLAN, HORIZON, **options, **limits, open_executor=Recording)
        )
        tables.append(pq.read_table(out))
    assert sum(query.startswith("INSERT") for query in queries) > 2
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert reports[0] == reports[1]
    whole, in_parts = tables
    names = list(PLAN.input_names)
    assert in_parts.drop_columns(names).equals(whole.drop_columns(names))
    expected, found = (
        np.column_stack([table[name].to_numpy() for name in names]) for table in (whole, in_parts)
    )
    scales = feature_scales(PLAN, names, expected, largest_amount(events))
    comparison = compare("parts and all at once", names, found, expected, scales)
    assert [str(mismatch) for mismatch in comparison.mismatches] == []
    assert comparison.compared == whole.num_rows * len(names)


@pytest.mark.parametrize("horizon", [timedelta(0), timedelta(days=-1)])
def test_a_horizon_that_is_not_positive_is_refused(tmp_path: Path, horizon: timedelta) -> None:
    with pytest.raises(FeatureEngineError, match="the horizon must be positive"):
        built(tmp_path, [event("view", 0)], horizon=horizon)


def test_another_kind_of_file_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "events.parquet"
    pq.write_table(event_table([event("view", 0)]), source)
    with pytest.raises(FeatureEngineError, match=r"can write \.parquet and \.csv, not \.xlsx"):
        build_training_rows(source, tmp_path / "rows.xlsx", PLAN, HORIZON)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.parquet"]
