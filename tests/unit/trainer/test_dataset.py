from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from reprise.events import Event
from reprise.trainer.data.dataset import Dataset, load_dataset
from reprise.trainer.data.history import count_anomalies
from reprise.trainer.exceptions import RowsError, TrainingRefusedError, TruthError
from support.histories import event_table
from support.labelled_rows import DAY_US, SETTINGS

START_US = 1_767_225_600_000_000  # 2026-01-01
# day, user, type: two users of one product, the last two days without a label
HISTORY = [
    (0, "u1", "view"), (1, "u1", "purchase"), (1, "u2", "view"), (4, "u1", "view"), (6, "u2", "purchase"),
    (8, "u1", "purchase"), (9, "u2", "view"), (10, "u1", "view"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    events = [
        Event(f"e{number}", user, "p", kind, START_US + day * DAY_US)
        for number, (day, user, kind) in enumerate(HISTORY)
    ]
    pq.write_table(event_table(events), tmp_path / "events.parquet")
    write_rows(tmp_path)
    return tmp_path


def instants(days: Iterable[int]) -> pa.Array:
    return pa.array([START_US + day * DAY_US for day in days], pa.timestamp("us", tz="UTC"))


def write_rows(folder: Path, **columns: Any) -> None:
    count = len(HISTORY)
    table = {
        "event_id": [f"e{number}" for number in range(count)],
        "user_id": [user for _, user, _ in HISTORY],
        "product_id": ["p"] * count,
        "timestamp": instants(day for day, _, _ in HISTORY),
        "first": [float(number) for number in range(count)],
        "second": pa.array([None if number % 2 else 0.1 * number for number in range(count)], pa.float64()),
        "asked": ["before"] * count,
        "label": [True, True, True, True, False, False, None, None],
        "repeat_candidate": [False, False, False, True, False, True, True, True],
    }
    pq.write_table(pa.table({**table, **columns}), folder / "rows.parquet", row_group_size=3)


def load(folder: Path, *, inputs: tuple[str, ...] = ("second", "first"), **given: Any) -> tuple[Dataset, int]:
    settings = SETTINGS.model_copy(update=given)
    return load_dataset([folder / "rows.parquet"], folder / "events.parquet", inputs, "purchase", settings)


def test_rows_have_the_members_of_metadata_that_slices_are_by(folder: Path) -> None:
    events = pq.read_table(folder / "events.parquet")
    metadata = ['{"shop":"north","n":1}', None, '{"n":2}', *[None] * (len(events) - 3)]
    changed = events.set_column(events.schema.get_field_index("metadata"), "metadata", [metadata])
    pq.write_table(changed, folder / "events.parquet")
    table, _ = load(folder, slice_by="n,shop")
    assert table.metadata["shop"].tolist() == ["north", *[None] * 5]
    assert table.subset(slice(1, 4)).metadata["n"].tolist() == [None, "2", None]
    with pytest.raises(TrainingRefusedError, match="--slice-by colour: no event has this member"):
        load(folder, slice_by="n,colour")


def test_rows_without_a_label_are_left_out_and_inputs_keep_the_plans_order(folder: Path) -> None:
    table, labelled = load(folder)
    assert labelled == len(table) == 6
    assert table.inputs.dtype == np.float32
    assert table.inputs[:, 1].tolist() == [0, 1, 2, 3, 4, 5]
    assert np.isnan(table.inputs[1::2, 0]).all()
    assert table.inputs[2, 0] == np.float32(0.2)
    assert table.labels.tolist() == [True] * 4 + [False] * 2
    assert table.truth is None


def test_recency_is_the_days_since_the_pairs_last_earlier_purchase(folder: Path) -> None:
    table, _ = load(folder)
    assert table.recency_days == pytest.approx([np.nan, np.nan, np.nan, 3.0, np.nan, 7.0], nan_ok=True)


def test_past_purchases_are_those_strictly_before_each_row(folder: Path) -> None:
    table, _ = load(folder)
    for row, (now, user, _) in enumerate(HISTORY[: len(table)]):
        by_user: dict[str, list[float]] = {}
        for day, buyer, kind in HISTORY:
            if kind == "purchase" and day < now:
                by_user.setdefault(buyer, []).append(now - day)
        own = by_user.get(user, [])
        bought = [len(own), max(own), 0.0] if own else [np.nan] * 3
        sold = [
            len(by_user),
            sum(len(each) > 1 for each in by_user.values()),
            sum(len(each) - 1 for each in by_user.values()),
            sum(max(each) for each in by_user.values()),
        ]
        found = [getattr(table.past, name)[row] for name in table.past.__slots__]
        assert found == pytest.approx(bought + (sold if by_user else [np.nan] * 4), nan_ok=True, abs=1e-6)


def test_sample_is_even_in_size_decided_by_the_seed_and_in_order(folder: Path) -> None:
    (first, labelled), (again, _), (other, _) = (load(folder, max_rows=3, seed=seed) for seed in (1, 1, 3))
    assert labelled == 6
    assert len(first) == 3
    assert (np.diff(first.inputs[:, 1]) > 0).all()
    assert first.inputs[:, 1].tolist() == again.inputs[:, 1].tolist() != other.inputs[:, 1].tolist()
    assert (np.diff(first.timestamps_us) >= 0).all()


def test_idle_rows_need_no_truth_and_rows_after_an_event_have_that_of_the_event(folder: Path) -> None:
    asked = ["before", "before", "after", "idle", "before", "before", "before", "before"]
    ids = [None if kind == "idle" else f"e{number}" for number, kind in enumerate(asked)]
    write_rows(folder, asked=asked, event_id=ids)
    lines = [f"e{number},0.{number}" for number in range(8) if number != 3]
    (folder / "truth.csv").write_text("\n".join(["event_id,probability", *lines]))
    table, _ = load(folder, truth=folder / "truth.csv")
    assert table.truth.tolist() == pytest.approx([0.0, 0.1, 0.2, np.nan, 0.4, 0.5], nan_ok=True)
    assert table.asked.tolist() == [0, 0, 1, 2, 0, 0]
    assert len(table.at_events) == 4


@pytest.mark.parametrize("name", ["truth.csv", "truth.parquet"])
def test_truth_is_joined_by_event(folder: Path, name: str) -> None:
    content = pa.table(
        {"probability": [n / 10 for n in range(7, -1, -1)], "event_id": [f"e{n}" for n in range(7, -1, -1)]}
    )
    if name.endswith("csv"):
        pacsv.write_csv(content, folder / name)
    else:
        pq.write_table(content, folder / name)
    table, _ = load(folder, truth=folder / name)
    assert table.truth.tolist() == [n / 10 for n in range(6)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("event_id,p\ne0,0.5\n", "no column probability; the file has event_id, p"),
        ("event_id,probability\ne0,0.5\ne1,0.5\n", "no probability for 4 of 6 events, for instance e2"),
        ("event_id,probability\ne0,0.5\ne0,0.6\n", "event_id e0 occurs more than once"),
        (
            "event_id,probability\n" + "".join(f"e{n},{n}\n" for n in range(8)),
            "event e2 has the probability 2",
        ),
        ("event_id,probability\ne0,high\n", "truth.csv: "),
    ],
)
def test_truth_that_does_not_fit_is_refused(folder: Path, content: str, message: str) -> None:
    (folder / "truth.csv").write_text(content)
    with pytest.raises(TruthError) as refused:
        load(folder, truth=folder / "truth.csv")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ({"label": pa.nulls(len(HISTORY), pa.bool_())}, TrainingRefusedError, "old enough"),
        ({"first": [1e300] * len(HISTORY)}, RowsError, "input first: 1e"),
        ({"timestamp": instants([0, 1, 1, 9, 6, 8, 9, 10])}, RowsError, "not in the order"),
    ],
    ids=["no label", "a number beyond float32", "not in order"],
)
def test_rows_that_cannot_be_used_are_refused(
    folder: Path, rows: dict[str, Any], error: type[Exception], message: str
) -> None:
    write_rows(folder, **rows)
    with pytest.raises(error, match=message):
        load(folder)


def test_missing_files_and_inputs_are_named(folder: Path) -> None:
    with pytest.raises(TruthError, match=r"none\.csv: no such file"):
        load(folder, truth=folder / "none.csv")
    with pytest.raises(RowsError, match="input third is missing"):
        load(folder, inputs=("first", "third"))


def test_anomalies_are_counted(folder: Path) -> None:
    path = folder / "events.parquet"
    bought = (("a", 0, 5.0), ("again", 0, 5.0), ("b", 1, 0.0), ("c", 2, None))
    events = [Event(name, "u", "p", "purchase", START_US + at, amount) for name, at, amount in bought]
    pq.write_table(event_table(events), path)
    assert list(count_anomalies(path, "purchase", "200MiB").values()) == [1, 1, 1]
    assert list(count_anomalies(path, "order", "200MiB").values()) == [0, 0, 1]
