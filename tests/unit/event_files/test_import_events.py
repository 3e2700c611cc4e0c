import datetime
import gzip
import os
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.event_files.exceptions import (
    BadRowsError,
    EventFilesError,
    MissingColumnsError,
    NoEventsError,
    UnreadableFileError,
    UnusableColumnError,
)
from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import ImportReport
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import event_key

TAKEN_AS_IS = ImportOptions()
DROP = ImportOptions(on_bad_rows="drop")
JAN_1 = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def read(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
    return rows


def load(
    tmp_path: Path, text: str, options: ImportOptions = TAKEN_AS_IS, name: str = "events.csv"
) -> tuple[list[dict[str, object]], ImportReport]:
    source = tmp_path / name
    source.write_text(text)
    out = tmp_path / "out.parquet"
    report = import_events(source, out, options=options)
    return read(out), report


def load_column(
    tmp_path: Path, name: str, values: pa.Array, options: ImportOptions = TAKEN_AS_IS
) -> tuple[list[object], ImportReport]:
    size = len(values)
    columns = {
        "event_id": [f"e{i}" for i in range(size)],
        "user_id": ["u"] * size,
        "product_id": ["p"] * size,
        "timestamp": [JAN_1 + datetime.timedelta(seconds=i) for i in range(size)],
        name: values,
    }
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.table(columns), source)
    report = import_events(source, out, options=options)
    rows = sorted(read(out), key=lambda row: str(row["event_id"]))
    return [row[name] for row in rows], report


def test_result_has_the_canonical_schema_whatever_the_values(tmp_path: Path) -> None:
    load(tmp_path, "user_id,product_id,timestamp,amount\nu,p,2026-01-01,1\n")
    assert pq.read_schema(tmp_path / "out.parquet").equals(EVENT_SCHEMA)


def test_rows_are_ordered_by_timestamp_then_event_key(tmp_path: Path) -> None:
    lines = [f"e{i},u,p,view,,2026-01-0{1 + i % 2}T00:00:00Z" for i in range(40)]
    rows, _ = load(tmp_path, "event_id,user_id,product_id,event_type,amount,timestamp\n" + "\n".join(lines))
    keys = [(row["timestamp"], event_key(str(row["event_id"]))) for row in rows]
    assert len(keys) == 40
    assert keys == sorted(keys)


def test_canonical_file_passes_unchanged(tmp_path: Path) -> None:
    rows, _ = load(
        tmp_path,
        "event_id,user_id,product_id,event_type,amount,timestamp,metadata\n"
        'b,u1,p1,purchase,9.5,2026-01-02T00:00:00Z,"{""a"": 1}"\n'
        "a,u2,p2,view,,2026-01-01T00:00:00Z,\n",
    )
    report = import_events(tmp_path / "out.parquet", tmp_path / "again.parquet")
    assert read(tmp_path / "again.parquet") == rows
    assert rows[1]["metadata"] == '{"a": 1}'
    assert report.notes == ()


def test_columns_and_event_types_are_mapped(tmp_path: Path) -> None:
    options = ImportOptions(
        columns={"user_id": "customer", "product_id": "sku", "timestamp": "at", "amount": "price"},
        event_types={"buy": "purchase", "add to cart": "cart"},
    )
    rows, _ = load(
        tmp_path,
        "customer,sku,at,price,event_type\nc1,s1,2026-01-01,5,BUY\nc1,s1,2026-01-02,,Add to Cart\n",
        options,
    )
    assert [(r["user_id"], r["product_id"], r["event_type"], r["amount"]) for r in rows] == [
        ("c1", "s1", "purchase", 5.0),
        ("c1", "s1", "cart", None),
    ]


def test_column_names_match_without_regard_to_case(tmp_path: Path) -> None:
    rows, _ = load(tmp_path, "User_ID,PRODUCT_ID,Timestamp\nu,p,2026-01-01\n")
    assert rows[0]["user_id"] == "u"


def test_missing_columns_are_named_with_a_way_to_map_them(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnsError) as caught:
        load(tmp_path, "CustomerID,StockCode,InvoiceDate,product_name\n1,2,3,4\n")
    message = str(caught.value)
    assert caught.value.missing == ("user_id", "product_id", "timestamp")
    assert caught.value.available == ("CustomerID", "StockCode", "InvoiceDate", "product_name")
    assert (
        "--column user_id=CustomerID --column product_id=StockCode --column timestamp=InvoiceDate" in message
    )


def test_mapped_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnsError, match="amount"):
        load(
            tmp_path,
            "user_id,product_id,timestamp\nu,p,2026-01-01\n",
            ImportOptions(columns={"amount": "price"}),
        )


def test_file_without_header_is_said_to_need_one(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnsError, match="needs a header row"):
        load(tmp_path, "196,242,881250949\n186,302,891717742\n")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, -2], pa.int64()), ["1", "-2"]),
        (pa.array([17850.0, 1.5], pa.float64()), ["17850", "1.5"]),
        (pa.array([2**40 + 0.0, 7.0], pa.float64()), [str(2**40), "7"]),
        (pa.array([b"abc", b"\xff\x00"], pa.binary()), ["abc", "0xff00"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([2**64 - 1, 0], pa.uint64()), [str(2**64 - 1), "0"]),
    ],
)
def test_ids_of_any_type_become_text(tmp_path: Path, values: pa.Array, expected: list[str]) -> None:
    read_back, _ = load_column(tmp_path, "user_id", values)
    assert read_back == expected


def test_uuid_ids_become_their_text(tmp_path: Path) -> None:
    value = uuid.UUID(int=5)
    read_back, _ = load_column(tmp_path, "user_id", pa.array([value.bytes], pa.uuid()))
    assert read_back == [str(value)]


def test_ids_in_lists_are_refused_with_the_column_and_its_type(tmp_path: Path) -> None:
    with pytest.raises(UnusableColumnError, match=r"user_id is of type VARCHAR\[\]"):
        load_column(tmp_path, "user_id", pa.array([["a"]]))


def test_whole_floats_in_a_csv_id_column_lose_their_point_and_it_is_said(tmp_path: Path) -> None:
    rows, report = load(
        tmp_path, "user_id,product_id,timestamp\n17850.0,1.0,2026-01-01\n12.0,v1.0,2026-01-01\n"
    )
    assert {row["user_id"] for row in rows} == {"17850", "12"}
    assert {row["product_id"] for row in rows} == {"1.0", "v1.0"}
    assert any("17850.0 is 17850" in note for note in report.notes)


def test_file_of_purchases_without_types_amounts_and_ids_says_what_it_took(tmp_path: Path) -> None:
    rows, report = load(tmp_path, "user_id,product_id,timestamp\nu,p,2026-01-01\n")
    assert rows[0]["event_type"] == "purchase"
    assert rows[0]["amount"] is None
    text = report.render()
    assert "every row is taken as a purchase" in text
    assert "no amount column" in text
    assert "ids are made from the rows' content" in text


def test_made_ids_depend_on_content_and_not_on_the_order_of_the_file(tmp_path: Path) -> None:
    header, a, b = "user_id,product_id,timestamp\n", "u,p,2026-01-01\n", "u,q,2026-01-01\n"
    first, report = load(tmp_path, header + a + b + a)
    second, _ = load(tmp_path, header + b + a + a)
    ids = {str(row["event_id"]) for row in first}
    assert ids == {str(row["event_id"]) for row in second}
    assert len(ids) == 3
    assert any("1 rows equal an earlier one and are kept" in note for note in report.notes)


def test_first_row_of_an_event_id_is_kept_and_the_others_are_counted(tmp_path: Path) -> None:
    rows, report = load(
        tmp_path,
        "event_id,user_id,product_id,timestamp\ne,second,p,2026-01-02\ne,third,p,2026-01-01\nf,u,p,2026-01-01\n",
    )
    assert {row["user_id"] for row in rows} == {"second", "u"}
    assert report.repeated_event_ids == 1
    assert "1 rows dropped because an earlier row has the same event_id" in report.render()


def test_bad_row_does_not_displace_a_good_one_with_its_event_id(tmp_path: Path) -> None:
    rows, report = load(
        tmp_path,
        "event_id,user_id,product_id,timestamp\ne,,p,2026-01-02\ne,good,p,2026-01-01\n",
        DROP,
    )
    assert [row["user_id"] for row in rows] == ["good"]
    assert (report.bad_rows, report.repeated_event_ids) == (1, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", JAN_1),
        ("2026-01-01T02:00:00+02:00", JAN_1),
        ("2026-01-01T02:00:00+0200", JAN_1),
        ("2026-01-01 00:00:00 UTC", JAN_1),
        ("2026-01-01 01:00:00 Europe/Berlin", JAN_1),
        ("2026-01-01 00:00:00.25Z", JAN_1 + datetime.timedelta(milliseconds=250)),
        ("1767225600", JAN_1),
        ("1767225600.5", JAN_1 + datetime.timedelta(milliseconds=500)),
        ("1767225600000", JAN_1),
        ("1767225600000001", JAN_1 + datetime.timedelta(microseconds=1)),
        ("1767225600000001999", JAN_1 + datetime.timedelta(microseconds=1)),
        ("20260101", JAN_1),
    ],
)
def test_timestamps_of_many_kinds_are_read(tmp_path: Path, text: str, expected: datetime.datetime) -> None:
    rows, report = load(tmp_path, f"user_id,product_id,timestamp\nu,p,{text}\n")
    assert rows[0]["timestamp"] == expected
    assert not any("without a zone" in note for note in report.notes)


@pytest.mark.parametrize("text", ["2026-01-01", "2026-01-01 00:00:00", "2026-01-01T00:00:00.000"])
def test_timestamps_without_a_zone_are_utc_and_it_is_said(tmp_path: Path, text: str) -> None:
    rows, report = load(tmp_path, f"user_id,product_id,timestamp\nu,p,{text}\nu,p,2026-01-02T00:00:00Z\n")
    assert rows[0]["timestamp"] == JAN_1
    assert "1 timestamps without a zone are taken as UTC" in report.notes


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (pa.array([datetime.datetime(2026, 1, 1)]), "without a zone are taken as UTC"),
        (pa.array([JAN_1]), None),
        (pa.array([JAN_1], pa.timestamp("ns", tz="Asia/Tokyo")), None),
        (pa.array([datetime.date(2026, 1, 1)]), "midnight UTC"),
        (pa.array([1767225600], pa.int32()), "seconds since 1970-01-01 UTC (decided by their size)"),
        (pa.array([1767225600000.0]), "milliseconds"),
        (pa.array([1767225600000000]), "microseconds"),
    ],
)
def test_typed_timestamps_are_read(tmp_path: Path, values: pa.Array, note: str | None) -> None:
    read_back, report = load_column(tmp_path, "timestamp", values)
    assert read_back == [JAN_1]
    said = [text for text in report.notes if note is not None and note in text]
    assert len(said) == (note is not None)


def test_unit_of_numeric_timestamps_can_be_said(tmp_path: Path) -> None:
    rows, _ = load(
        tmp_path, "user_id,product_id,timestamp\nu,p,86400000\n", ImportOptions(timestamp_unit="ms")
    )
    assert rows[0]["timestamp"] == datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC)


def test_textual_timestamps_follow_a_given_format(tmp_path: Path) -> None:
    options = ImportOptions(timestamp_format="%m/%d/%Y %H:%M")
    rows, report = load(tmp_path, "user_id,product_id,timestamp\nu,p,1/1/2026 0:00\n", options)
    assert rows[0]["timestamp"] == JAN_1
    assert "1 timestamps without a zone are taken as UTC" in report.notes


def test_every_kind_of_problem_is_said_at_once_by_row_column_and_value(tmp_path: Path) -> None:
    text = (
        "event_id,user_id,product_id,event_type,amount,timestamp,metadata\n"
        "e1,,p,purchase,1,2026-01-01T00:00:00Z,\n"
        f"e2,{'x' * 300},p,purchase,1,2026-01-01T00:00:00Z,\n"
        "e3,u,p,purchase,1,yesterday,\n"
        "e4,u,p,purchase,1,0001-01-01T00:00:00Z,\n"
        "e5,u,p,purchase,-3,,\n"
        "e6,u,p,add to cart,1,2026-01-01T00:00:00Z,\n"
        'e7,u,p,purchase,"1,50",2026-01-01T00:00:00Z,\n'
        "e8,u,p,purchase,inf,2026-01-01T00:00:00Z,\n"
        "e9,u,p,purchase,1,2026-01-01T00:00:00Z,[1]\n"
        "e10,u,p\n"
        "e11,u,p,,1,2026-01-01T00:00:00Z,\n"
        "e12,u,p,purchase,1,2026-01-01T00:00:00Z,{}\n"
    )
    with pytest.raises(BadRowsError) as caught:
        load(tmp_path, text)
    report = caught.value.report
    assert (report.rows_read, report.bad_rows) == (12, 11)
    assert dict(report.dropped) == {
        "the row is not CSV of the header's columns": 1,
        "user_id: missing": 1,
        "user_id: unusable": 1,
        "timestamp: unreadable": 1,
        "timestamp: implausible": 1,
        "timestamp: missing": 1,
        "event_type: missing": 1,
        "event_type: not a name": 1,
        "amount: negative": 1,
        "amount: not a finite number": 2,
        "metadata: not a JSON object": 1,
    }
    where = [(problem.row, problem.column, problem.value) for problem in report.problems]
    assert where == [
        (1, "user_id", None),
        (2, "user_id", "x" * 300),
        (3, "timestamp", "yesterday"),
        (4, "timestamp", "0001-01-01T00:00:00Z"),
        (5, "timestamp", None),
        (5, "amount", "-3"),
        (6, "event_type", "add to cart"),
        (7, "amount", "1,50"),
        (8, "amount", "inf"),
        (9, "metadata", "[1]"),
        (10, None, "e10,u,p"),
        (11, "event_type", None),
    ]
    assert "events.csv row 7, amount: expected a finite number, or nothing, got '1,50'" in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def test_rows_after_an_unreadable_one_keep_their_number(tmp_path: Path) -> None:
    text = "user_id,product_id,timestamp\nu,p,2026-01-01\nbroken\nu,p,2026-01-01\nbroken\n,p,2026-01-01\n"
    _, report = load(tmp_path, text, DROP)
    assert [problem.row for problem in report.problems] == [2, 4, 5]


def test_shown_problems_are_limited_but_counts_are_complete(tmp_path: Path) -> None:
    text = "user_id,product_id,timestamp\n" + "u,p,never\n" * 50 + "u,p,2026-01-01\n"
    _, report = load(tmp_path, text, ImportOptions(on_bad_rows="drop", problem_limit=3))
    assert [problem.row for problem in report.problems] == [1, 2, 3]
    assert report.bad_rows == 50
    assert "The first 3 of 50:" in report.render()


def test_dropped_rows_are_counted_by_reason_in_the_report(tmp_path: Path) -> None:
    rows, report = load(tmp_path, "user_id,product_id,timestamp\n,p,2026-01-01\nu,p,2026-01-01\n", DROP)
    assert len(rows) == 1
    assert report.bad_rows == 1
    assert "1  user_id: missing" in report.render()


def test_amounts_on_views_are_cleared_and_counted(tmp_path: Path) -> None:
    rows, report = load(
        tmp_path,
        "user_id,product_id,timestamp,event_type,amount\nu,p,2026-01-01,view,5\nu,p,2026-01-02,purchase,6\n",
    )
    assert [row["amount"] for row in rows] == [None, 6.0]
    assert report.cleared_amounts == 1
    assert "1 amounts on views set to null" in report.render()


@pytest.mark.parametrize("text", ["", "NaN", "NULL", "None", "\\N"])
def test_missing_amounts_are_null_however_they_are_written(tmp_path: Path, text: str) -> None:
    rows, _ = load(tmp_path, f"user_id,product_id,timestamp,amount\nu,p,2026-01-01,{text}\n")
    assert rows[0]["amount"] is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1, None], pa.int32()), [1.0, None]),
        (pa.array([float("nan"), 2.5]), [None, 2.5]),
        (pa.array(["3.25", None]), [3.25, None]),
    ],
)
def test_amounts_of_any_numeric_type_are_read(
    tmp_path: Path, values: pa.Array, expected: list[float | None]
) -> None:
    read_back, _ = load_column(tmp_path, "amount", values)
    assert read_back == expected


def test_structured_metadata_becomes_json(tmp_path: Path) -> None:
    read_back, _ = load_column(tmp_path, "metadata", pa.array([{"page": 3}, None]))
    assert read_back == ['{"page":3}', None]


def test_unused_columns_are_named_in_the_report(tmp_path: Path) -> None:
    _, report = load(tmp_path, "user_id,product_id,timestamp,brand\nu,p,2026-01-01,x\n")
    assert "columns not used: brand" in report.notes


def test_file_without_purchases_says_how_to_name_them(tmp_path: Path) -> None:
    _, report = load(tmp_path, "user_id,product_id,timestamp,event_type\nu,p,2026-01-01,buy\n")
    assert any("map one with --event-type purchase=VALUE" in note for note in report.notes)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found_in_the_header(tmp_path: Path, delimiter: str) -> None:
    text = "user_id,product_id,timestamp\r\nu,p,2026-01-01\r\n".replace(",", delimiter)
    rows, _ = load(tmp_path, text)
    assert rows[0]["product_id"] == "p"


def test_byte_order_mark_and_index_column_are_no_obstacle(tmp_path: Path) -> None:
    rows, report = load(tmp_path, "\ufeff,user_id,product_id,timestamp\n0,u,p,2026-01-01\n")
    assert rows[0]["user_id"] == "u"
    assert "columns not used: column 1" in report.notes


def test_compressed_csv_is_read(tmp_path: Path) -> None:
    source = tmp_path / "events.csv.gz"
    source.write_bytes(gzip.compress(b"user_id,product_id,timestamp\nu,p,2026-01-01\n"))
    report = import_events(source, tmp_path / "out.parquet")
    assert report.rows_written == 1


@pytest.mark.parametrize("pattern", ["parts", "parts/*.csv"])
def test_folders_and_patterns_are_read_in_order_of_name(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    header = "event_id,user_id,product_id,timestamp\n"
    (folder / "b.csv").write_text(header + "e,late,p,2026-01-01\n")
    (folder / "a.csv").write_text(header + "e,early,p,2026-01-01\n,u,p,2026-01-01\n")
    report = import_events(tmp_path / pattern, tmp_path / "out.parquet", options=DROP)
    assert [row["user_id"] for row in read(tmp_path / "out.parquet")] == ["early"]
    assert report.rows_read == 3
    assert str(report.problems[0]).startswith("a.csv row 2, event_id")


def test_name_with_pattern_characters_is_the_file_itself(tmp_path: Path) -> None:
    rows, _ = load(tmp_path, "user_id,product_id,timestamp\nu,p,2026-01-01\n", name="a[1]*.csv")
    assert len(rows) == 1


def test_source_may_be_replaced_by_the_result(tmp_path: Path) -> None:
    load(tmp_path, "user_id,product_id,timestamp\nu,p,2026-01-02\nu,q,2026-01-01\n")
    before = read(tmp_path / "out.parquet")
    import_events(tmp_path / "out.parquet", tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet") == before


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("events.csv", b"", "the file is empty"),
        ("events.csv", b"\xff\xfeu\x00", "not readable as text"),
        ("events.csv", b"user_id,user_id\n1,2\n", "names the column user_id twice"),
        ("events.parquet", b"not parquet at all", "not readable as Parquet"),
        ("events.json", b"{}", "neither CSV nor Parquet by its name"),
        ("events.csv.gz", b"plain", "not readable as text"),
    ],
)
def test_unreadable_file_is_refused_with_its_name_and_the_reason(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFileError, match=reason) as caught:
        import_events(tmp_path / name, tmp_path / "out.parquet")
    assert name in str(caught.value)


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no such file"):
        import_events(tmp_path / "nowhere.csv", tmp_path / "out.parquet")


def test_header_alone_has_no_events(tmp_path: Path) -> None:
    with pytest.raises(NoEventsError, match="0 rows read"):
        load(tmp_path, "user_id,product_id,timestamp\n")


def test_file_of_bad_rows_only_is_refused_even_when_they_may_be_dropped(tmp_path: Path) -> None:
    with pytest.raises(NoEventsError, match="user_id: missing"):
        load(tmp_path, "user_id,product_id,timestamp\n,p,2026-01-01\n", DROP)


def test_memory_limit_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,product_id,timestamp\nu,p,2026-01-01\n")
    with pytest.raises(EventFilesError, match="memory limit plenty"):
        import_events(tmp_path / "a.csv", tmp_path / "out.parquet", memory_limit="plenty")


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,product_id,timestamp\nu,p,2026-01-01\n")
    with pytest.raises(EventFilesError, match="nowhere: no such folder"):
        import_events(tmp_path / "a.csv", tmp_path / "nowhere" / "out.parquet")


def test_nothing_is_left_beside_the_result(tmp_path: Path) -> None:
    load(tmp_path, "user_id,product_id,timestamp\nu,p,2026-01-01\n")
    assert sorted(os.listdir(tmp_path)) == ["events.csv", "out.parquet"]


def test_large_file_spills_under_a_small_memory_limit(tmp_path: Path) -> None:
    size = 400_000
    table = pa.table(
        {
            "event_id": [f"event-number-{i:020d}" for i in range(size)],
            "user_id": [f"user-{i % 977}" for i in range(size)],
            "product_id": [f"product-{i % 101}" for i in range(size)],
            "timestamp": pa.array(range(size, 0, -1), pa.timestamp("s", tz="UTC")),
        }
    )
    pq.write_table(table, tmp_path / "big.parquet")
    report = import_events(tmp_path / "big.parquet", tmp_path / "out.parquet", memory_limit="96MiB")
    stamps = pq.read_table(tmp_path / "out.parquet", columns=["timestamp"])["timestamp"].to_numpy()
    assert report.rows_written == size
    assert (stamps[1:] >= stamps[:-1]).all()
