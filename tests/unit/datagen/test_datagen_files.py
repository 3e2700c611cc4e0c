"""The files that datagen writes."""

import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from reprise.datagen.history import DatagenError, HistoryOptions, generate_history
from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import event_key, parse_timestamp
from reprise.shop import ShopConfig

SHOP = ShopConfig(seed=5, users=300, products=50)


def read_csv(path: Path) -> pa.Table:
    return pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(strings_can_be_null=True))


def test_parquet_has_the_canonical_columns_in_canonical_order(tmp_path: Path) -> None:
    summary = generate_history(HistoryOptions(tmp_path / "h.parquet", SHOP, days=30))
    table = pq.read_table(tmp_path / "h.parquet")
    assert table.schema.equals(EVENT_SCHEMA)
    assert table.num_rows == summary.events > 3_000
    ids = table["event_id"].to_pylist()
    order = list(zip(table["timestamp"].cast(pa.int64()).to_pylist(), map(event_key, ids), strict=True))
    assert order == sorted(order)
    assert len(set(ids)) == len(ids)
    assert [name for name in EVENT_SCHEMA.names if table[name].null_count] == ["amount", "metadata"]
    rows = table.to_pylist()
    assert {row["event_type"] for row in rows} == {"view", "purchase"}
    assert all((row["amount"] is None) == (row["event_type"] == "view") for row in rows)
    assert sum(row["event_type"] == "purchase" for row in rows) == summary.purchases
    discounts = [json.loads(row["metadata"])["discount_percent"] for row in rows if row["metadata"]]
    assert discounts
    assert all(5 <= percent <= 60 for percent in discounts)


def test_csv_says_the_same_as_parquet_with_rfc_3339_timestamps(tmp_path: Path) -> None:
    generate_history(HistoryOptions(tmp_path / "h.parquet", SHOP, days=20))
    generate_history(HistoryOptions(tmp_path / "h.csv", SHOP, days=20))
    kept = ImportOptions(metadata_fields=("discount_percent",))
    import_events(tmp_path / "h.csv", tmp_path / "imported.parquet", options=kept)
    imported = pq.read_table(tmp_path / "imported.parquet")
    expected = pq.read_table(tmp_path / "h.parquet")
    for name in EVENT_SCHEMA.names:
        assert imported[name].to_pylist() == expected[name].to_pylist(), name
    lines = (tmp_path / "h.csv").read_text().splitlines()
    assert lines[0] == ",".join(EVENT_SCHEMA.names)
    written = [parse_timestamp(line.split(",")[5]) for line in lines[1:]]
    assert written == expected["timestamp"].cast(pa.int64()).to_pylist()


@pytest.mark.parametrize("count", [1, 999, 20_000])
def test_events_are_exactly_as_many_as_asked_for_and_the_first_in_time(tmp_path: Path, count: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    (tmp_path / "n.parquet").write_text("an old file, which is replaced")
    assert generate_history(HistoryOptions(tmp_path / "n.parquet", SHOP, start, events=count)).events == count
    generate_history(HistoryOptions(tmp_path / "d.parquet", SHOP, start, days=150))
    longer = pq.read_table(tmp_path / "d.parquet")
    assert longer.num_rows > count
    assert pq.read_table(tmp_path / "n.parquet").equals(longer.slice(0, count))


@pytest.mark.parametrize(
    ("end", "length"), [(None, {"days": 3}), (datetime(2024, 5, 6, 7, 8, tzinfo=UTC), {"events": 2_000})]
)
def test_history_ends_yesterday_unless_an_end_is_given(
    tmp_path: Path, end: datetime | None, length: dict[str, int]
) -> None:
    plan = HistoryOptions(tmp_path / "h.parquet", SHOP, end=end, **length)  # type: ignore[arg-type]
    midnight = datetime.combine(datetime.now(UTC), time(), UTC)
    summary = generate_history(plan)
    when = pq.read_table(plan.out)["timestamp"].to_pylist()
    # Midnight may pass while it is made.
    ends = [end] if end else [midnight, midnight + timedelta(days=1)]
    assert any(0 < (each - when[-1]).total_seconds() < 3 * 3600 for each in ends)
    assert len(when) == summary.events == length.get("events", summary.events)


def test_days_end_where_they_should(tmp_path: Path) -> None:
    start = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
    generate_history(HistoryOptions(tmp_path / "h.parquet", SHOP, start=start, days=3))
    when = pq.read_table(tmp_path / "h.parquet")["timestamp"].to_pylist()
    assert start <= when[0]
    hours = [(moment - start).total_seconds() / 3600 for moment in when]
    assert 66 < hours[-1] < 72


def test_equal_options_make_equal_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        shop = ShopConfig(seed=seed, users=200, products=40)
        generate_history(
            HistoryOptions(tmp_path / f"{name}.parquet", shop, days=10, truth=tmp_path / f"{name}.csv")
        )
    for extension in ("parquet", "csv"):
        a, b, c = ((tmp_path / f"{name}.{extension}").read_bytes() for name in "abc")
        assert a == b != c


def test_truth_has_each_event_once_in_the_same_order_and_every_digit_also_as_csv(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        generate_history(HistoryOptions(tmp_path / "h.csv", SHOP, days=20, truth=tmp_path / name))
    truth = pq.read_table(tmp_path / "t.parquet")
    assert truth.schema.names == ["event_id", "probability"]
    assert truth["event_id"].to_pylist() == read_csv(tmp_path / "h.csv")["event_id"].to_pylist()
    probability = truth["probability"].to_numpy()
    assert ((probability > 0) & (probability < 1)).all()
    assert probability.std() > 0.1
    np.testing.assert_array_equal(read_csv(tmp_path / "t.csv")["probability"].to_numpy(), probability)


def test_a_history_without_events_is_an_empty_table(tmp_path: Path) -> None:
    lonely = ShopConfig(seed=1, users=1, products=1)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    report = tmp_path / "r.html"
    for name, page in (("h.parquet", report), ("h.csv", None)):
        assert (
            generate_history(HistoryOptions(tmp_path / name, lonely, start, days=1, report=page)).events == 0
        )
    assert report.exists()
    assert pq.read_table(tmp_path / "h.parquet").schema.equals(EVENT_SCHEMA)
    assert (tmp_path / "h.csv").read_text() == ",".join(EVENT_SCHEMA.names) + "\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"out": "h.json"}, r"h\.json.*\.csv or \.parquet"),
        ({"out": "missing/h.csv"}, "there is no folder"),
        ({"report": "r.pdf"}, r"r\.pdf.*\.html"),
        ({"truth": "h.csv"}, "cannot be one file"),
        ({"events": 5}, "either the days or the events"),
        ({"days": None}, "either the days or the events"),
        ({"days": 0}, "days: expected at least 1, got 0"),
        ({"start": datetime(2026, 1, 1)}, "time zone"),
        ({"start": datetime(2026, 1, 1), "end": datetime(2026, 2, 1)}, "either the start or the end"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    fields = {"out": "h.csv", "days": 1, **changes}
    fields |= {name: tmp_path / str(fields[name]) for name in ("out", "truth", "report") if name in fields}
    with pytest.raises(DatagenError, match=said):
        generate_history(HistoryOptions(shop=SHOP, **fields))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
