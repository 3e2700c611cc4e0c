import bz2
import datetime
import os
import shlex
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from reprise.event_files.exceptions import (
    BadRowsError,
    EventFilesError,
    InvalidOptionError,
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
from support.train_command import run_import

pytestmark = pytest.mark.slow

TAKEN_AS_IS = ImportOptions()
DROP = ImportOptions(on_bad_rows="drop")
DAY = datetime.timedelta(days=1)
JAN_1 = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
HEADER = "user_id,product_id,timestamp\n"
ONE = HEADER + "u,p,2026-01-01\n"
TYPED = "user_id,product_id,timestamp,event_type\n"
PRICED = "user_id,product_id,timestamp,event_type,amount\n"
PRODUCT = ImportOptions(amount_from=("quantity", "price"))


def read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


class Loaded(NamedTuple):
    rows: list[dict[str, Any]]
    report: ImportReport

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]


Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Imports a text as ``events.csv``, or another file, to ``out.parquet``."""

    def import_text(text: str, options: ImportOptions = TAKEN_AS_IS, name: str = "events.csv") -> Loaded:
        (tmp_path / name).write_text(text)
        report = import_events(tmp_path / name, tmp_path / "out.parquet", options=options)
        return Loaded(read(tmp_path / "out.parquet"), report)

    return import_text


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
    if name in options.metadata_fields:
        name = "metadata"
    return [row[name] for row in rows], report


def write_packed(path: Path, content: bytes) -> None:
    match path.suffix.lower():
        case ".bz2":
            path.write_bytes(bz2.compress(content))
        case ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(path.stem, content)
        case suffix:
            packing = {".gz": "gzip", ".zst": "zstd"}.get(suffix)
            with pa.output_stream(str(path), compression=packing) as stream:
                stream.write(content)


def test_result_has_the_canonical_schema_whatever_the_values(load: Load, tmp_path: Path) -> None:
    load("user_id,product_id,timestamp,amount\nu,p,2026-01-01,1\n")
    assert pq.read_schema(tmp_path / "out.parquet").equals(EVENT_SCHEMA)
    assert sorted(os.listdir(tmp_path)) == ["events.csv", "out.parquet"], "nothing is left beside the result"


def test_rows_are_ordered_by_timestamp_then_event_key(load: Load) -> None:
    lines = [f"e{i},u,p,view,,2026-01-0{1 + i % 2}T00:00:00Z" for i in range(40)]
    rows, _ = load("event_id,user_id,product_id,event_type,amount,timestamp\n" + "\n".join(lines))
    keys = [(row["timestamp"], event_key(row["event_id"])) for row in rows]
    assert len(keys) == 40
    assert keys == sorted(keys)


def test_canonical_file_passes_unchanged_even_over_itself(load: Load, tmp_path: Path) -> None:
    rows, _ = load(
        "event_id,user_id,product_id,event_type,amount,timestamp,metadata\n"
        'b,u1,p1,purchase,9.5,2026-01-02T00:00:00Z,"{""a"": 1}"\n'
        "a,u2,p2,view,,2026-01-01T00:00:00Z,\n",
        options := ImportOptions(metadata_fields=("a",)),
    )
    for name in ("again.parquet", "out.parquet"):
        report = import_events(tmp_path / "out.parquet", tmp_path / name, options=options)
        assert read(tmp_path / name) == rows
        assert report.notes == ()
    assert rows[1]["metadata"] == '{"a":1}'


class Read(NamedTuple):
    """A file, the values of one field as they are read, by time, and what the report says of it."""

    text: str
    field: str
    values: list[Any]
    told: str = ""
    options: ImportOptions = TAKEN_AS_IS


ORDERS = "customer,sku,at,price,event_type\nc1,s1,2026-01-01,5,BUY\nc1,s1,2026-01-02,,Add to Cart\n"
ORDER_OPTIONS = ImportOptions(
    columns={"user_id": "customer", "product_id": "sku", "timestamp": "at", "amount": "price"},
    event_types={"buy": "purchase", "add to cart": "cart"},
)
DECIMAL = HEADER + "17850.0,1.0,2026-01-01\n12.0,v1.0,2026-01-02\n"
REPEATED = "user_id,amount,product_id,timestamp,Amount\nu,1,p,2026-01-01,2\n"
READ = {
    "mapped columns": Read(ORDERS, "amount", [5.0, None], options=ORDER_OPTIONS),
    "mapped event types": Read(ORDERS, "event_type", ["purchase", "cart"], options=ORDER_OPTIONS),
    "column names in any case": Read("User_ID,PRODUCT_ID,Timestamp\nu,p,2026-01-01\n", "user_id", ["u"]),
    "repeated column of no field": Read(
        "x,user_id,X,product_id,timestamp\n1,u,2,p,2026-01-01\n", "user_id", ["u"]
    ),
    "repeated column by its position": Read(
        REPEATED, "amount", [2.0], options=ImportOptions(columns={"amount": "Amount (column 5)"})
    ),
    "byte order mark and index column": Read(
        "\ufeff,user_id,product_id,timestamp\n0,u,p,2026-01-01\n", "user_id", ["u"], "not used: column 1"
    ),
    "delimiter within a quoted name": Read(
        '"a,b,c,d";user_id;product_id;timestamp\n1;u;p;2026-01-01\n', "user_id", ["u"]
    ),
    **{
        f"delimiter {mark!r}": Read(
            "user_id,product_id,timestamp\r\nu,p,2026-01-01\r\n".replace(",", mark), "product_id", ["p"]
        )
        for mark in ",;\t|"
    },
    "line breaks in the only row": Read(
        '2026-01-01,p,"u\n\r-"', "user_id", ["u\n\r-"],
        options=ImportOptions(header_names=("timestamp", "product_id", "user_id")),
    ),
    "no event types": Read(ONE, "event_type", ["purchase"], "every row is taken as a purchase"),
    "no amounts": Read(ONE, "amount", [None], "no amount column"),
    "no event ids": Read(ONE, "user_id", ["u"], "ids are made from the rows' content"),
    "whole ids with a decimal point": Read(DECIMAL, "user_id", ["17850", "12"], "17850.0 is 17850"),
    "other ids with a decimal point": Read(DECIMAL, "product_id", ["1.0", "v1.0"]),
    "first row of an event id": Read(
        f"event_id,{HEADER}e,second,p,2026-01-02\ne,third,p,2026-01-01\nf,u,p,2026-01-01\n",
        "user_id", ["u", "second"], "1 rows dropped because an earlier row has the same event_id",
    ),
    "first valid row of an event id": Read(
        f"event_id,{HEADER}e,,p,2026-01-02\ne,good,p,2026-01-01\n", "user_id", ["good"],
        "1 rows dropped because they are invalid:\n           1  user_id: missing", DROP,
    ),
    "timestamps in a unit": Read(
        HEADER + "u,p,20454\n", "timestamp", [JAN_1], options=ImportOptions(timestamp_unit="d")
    ),
    "timestamps in a format": Read(
        HEADER + "u,p,1/1/2026 0:00\n", "timestamp", [JAN_1], "1 timestamps without a zone are taken as UTC",
        ImportOptions(timestamp_format="%m/%d/%Y %H:%M"),
    ),
    "amount of a view": Read(
        PRICED + "u,p,2026-01-01,view,5\nu,p,2026-01-02,purchase,6\n", "amount", [None, 6.0],
        "1 amounts on views set to null",
    ),
    "unreadable amounts of views": Read(
        PRICED + "u,p,2026-01-01,VIEW,free\nu,p,2026-01-02,view,-1\n", "amount", [None, None],
        "2 amounts on views set to null",
    ),
    "missing amounts": Read(
        PRICED + "".join(f"u,p,2026-01-01,buy,{text}\n" for text in ("", "NA", "NaN", "NULL", "None", "\\N")),
        "amount", [None] * 6,
    ),
    "other columns as metadata": Read(
        "user_id,product_id,event_type,timestamp,category,stars,note\n"
        'u,p,view,2026-01-01,"tea ""green""",4,a\nu,p,view,2026-01-02,,nan,b\nu,p,view,2026-01-03,mugs,,c\n',
        "metadata", ['{"category":"tea \\"green\\"","stars":"4"}', None, '{"category":"mugs"}'],
        "columns not used: note", ImportOptions(metadata_fields=("category", "stars", "none")),
    ),
    "statuses of purchases alone": Read(
        "user_id,product_id,timestamp,status\nu,p,2026-01-01,delivered\nu,p,2026-01-02,paid\n",
        "event_type", ["purchase", "purchase"], "columns not used: status",
    ),
    "no purchases": Read(
        TYPED + "u,p,2026-01-01,buy\n", "event_type", ["buy"], "map one with --event-type purchase=VALUE"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ.values(), ids=READ)
def test_file_is_read_with_what_the_report_says(load: Load, case: Read) -> None:
    loaded = load(case.text, case.options)
    assert loaded.column(case.field) == case.values
    assert case.told in loaded.report.render()


UNMAPPED = "CustomerID,StockCode,InvoiceDate,product_name\n1,2,3,4\n"
NAMED = ImportOptions(header_names=("user_id", "product_id", "", "timestamp"), on_bad_rows="drop")
PRODUCTS = "user_id,product_id,timestamp,Quantity,price,event_type\nu,p,2026-01-01,{},purchase\n"
REFUSED: list[tuple[str, ImportOptions, type[EventFilesError], str]] = [
    (
        *(UNMAPPED, TAKEN_AS_IS, MissingColumnsError),
        "no column for user_id, product_id, timestamp.\nThe file has: CustomerID, StockCode, InvoiceDate,"
        " product_name.\nMap its columns: --column user_id=CustomerID --column product_id=StockCode"
        " --column timestamp=InvoiceDate",
    ),
    (
        *(ONE, ImportOptions(columns={"amount": "price"}), MissingColumnsError),
        "no column for amount (--column amount=price).",
    ),
    ("196,242,881250949\n186,302,891717742\n", TAKEN_AS_IS, MissingColumnsError, "--header-names"),
    ("196,242,881250949\n", NAMED, UnreadableFileError, "has 4 names, but the first row has 3 values"),
    (REPEATED, TAKEN_AS_IS, MissingColumnsError, "Amount (column 5)"),
    (ONE, ImportOptions(timestamp_unit="s", timestamp_format="%Y"), InvalidOptionError, "give one of them"),
    (ONE, ImportOptions(timestamp_origin=datetime.datetime(2020, 1, 1)), InvalidOptionError, "-unit"),
    (TYPED, ImportOptions(purchases_only=True), InvalidOptionError, "has a column event_type"),
    (
        *(PRODUCTS, ImportOptions(amount_from=("units", "price")), InvalidOptionError),
        "has no column units; it has: user_id",
    ),
    *(
        (PRODUCTS.format(bad), PRODUCT, BadRowsError, f"got '{bad.replace(',', '*')}'")
        for bad in ("x,0", "0,1e999", "1e300,1e300")
    ),
    (HEADER, TAKEN_AS_IS, NoEventsError, "0 rows read"),
    (HEADER + ",p,2026-01-01\n", DROP, NoEventsError, "user_id: missing"),
    (ONE + 'u,"p,2026-01-01\n' + "u,p,2026-01-01\n" * 2, DROP, UnreadableFileError, "line 3 opens a quote"),
    (ONE + 'u,"p"x\n', TAKEN_AS_IS, BadRowsError, "unterminated quote"),
]


@pytest.mark.parametrize(("text", "options", "kind", "told"), REFUSED, ids=[case[3] for case in REFUSED])
def test_file_is_refused_with_the_reason(
    load: Load, text: str, options: ImportOptions, kind: type[EventFilesError], told: str
) -> None:
    with pytest.raises(kind) as caught:
        load(text, options)
    assert told in str(caught.value)


DROPPED: dict[str, tuple[str, dict[str, int], list[int]]] = {
    "after an unparsable row": (
        HEADER + "u,p,2026-01-01\nbroken\nu,p,2026-01-01\nbroken\n,p,2026-01-01\n",
        {"the row is not CSV of the header's columns": 2, "user_id: missing": 1},
        [2, 4, 5],
    ),
    "of another unit than most, though it comes first": (
        HEADER + "u,p,1767225600000\n" * 11_000 + "u,p,1767225600\n" * 12_000,
        {"timestamp: not of the unit of most rows": 11_000},
        [*range(1, 21)],
    ),
    "numbers among text": (
        HEADER + "u,p,2026-01-01\n" * 3 + "u,p,1767225600\nu,p,20260101\n",
        {"timestamp: not of the unit of most rows": 2},
        [4, 5],
    ),
    "ambiguous and unknown zones": (
        HEADER
        + "".join(f"u,p,2026-01-01 00:00:00 {zone}\n" for zone in ("BST", "CET", "ast", "XYZ", "CEST")),
        {"timestamp: unreadable": 4},
        [1, 3, 4, 5],
    ),
    "NUL in an id": (HEADER + "u,p,2026-01-01\na\0b,p,2026-01-01\n", {"user_id: unusable": 1}, [2]),
}


@pytest.mark.parametrize(("text", "dropped", "rows"), DROPPED.values(), ids=DROPPED)
def test_bad_rows_are_dropped_by_reason_and_row(
    load: Load, text: str, dropped: dict[str, int], rows: list[int]
) -> None:
    _, report = load(text, DROP)
    assert report.dropped == dropped
    assert [problem.row for problem in report.problems] == rows
    assert report.rows_written == report.rows_read - report.bad_rows > 0


RETAIL = "Customer ID,StockCode,InvoiceDate,Quantity,Price\n1,a,2026-01-01,2,2.5\n1,a,2026-01-02,-1,2.5\n"


def test_proposed_options_read_quantity_and_unit_price_as_purchases_and_returns(
    load: Load, tmp_path: Path
) -> None:
    with pytest.raises(MissingColumnsError) as caught:
        load(RETAIL)
    options = next(line for line in str(caught.value).splitlines() if line.startswith("Map its columns: "))
    assert "amount=Price" not in options
    command_line = (
        f"reprise train --events {tmp_path / 'events.csv'} {options.removeprefix('Map its columns: ')}"
    )
    report = run_import(command_line, tmp_path / "out.parquet")
    assert report.event_types == {"purchase": 1, "return": 1}
    assert [row["amount"] for row in read(tmp_path / "out.parquet")] == [5, 2.5]


@pytest.mark.parametrize(
    ("user", "columns", "option"),
    [
        ("user_id", "Unit Price", "--column amount='Unit Price'"),
        ("customer", "revenue,Quantity,Price", "--column amount=revenue"),
        ("customer", "Quantity,Price", "--amount-from 'Quantity*Price'"),
        ("user_id", "brand", None),
    ],
)
def test_column_that_looks_like_an_unmapped_amount_is_named_with_its_option(
    load: Load, tmp_path: Path, user: str, columns: str, option: str | None
) -> None:
    count = columns.count(",") + 1
    text = f"{user},product_id,timestamp,{columns}\nu,p,2026-01-01{',2' * count}\n"
    _, report = load(text, ImportOptions(columns={"user_id": user}))
    (note,) = (note for note in report.notes if note.startswith("no amount column"))
    if option is None:
        assert "to read amounts" not in note
        return
    assert note.endswith(f"to read amounts, give {option}")
    command_line = f"reprise train --events {tmp_path / 'events.csv'} --column user_id={user} {option}"
    run_import(command_line, tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet")[0]["amount"] == (4 if "*" in option else 2)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("names", [(), ("user_id", "product_id", "timestamp")])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_breaks_in_a_value_of_the_first_row_are_not_the_files(
    tmp_path: Path, line_end: str, names: tuple[str, ...], mark: str
) -> None:
    header = "" if names else f'"a\nb\rc","user_id","product_id","timestamp"{line_end}'
    more = "" if names else '"x",'
    rows = "".join(f'{more}"{user}\n\r-","p","2026-01-01"{line_end}' for user in "uvw")
    source, out = tmp_path / "events.csv", tmp_path / "out.parquet"
    source.write_bytes((mark + header + rows).encode())
    import_events(source, out, options=ImportOptions(header_names=names))
    assert {row["user_id"] for row in read(out)} == {"u\n\r-", "v\n\r-", "w\n\r-"}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("user_id", pa.array([1, -2], pa.int64()), ["1", "-2"]),
        ("user_id", pa.array([17850.0, 1.5], pa.float64()), ["17850", "1.5"]),
        ("user_id", pa.array([2**40 + 0.0, 7.0], pa.float64()), [str(2**40), "7"]),
        ("user_id", pa.array([b"abc", b"\xff\x00"], pa.binary()), ["abc", "0xff00"]),
        ("user_id", pa.array([True, False]), ["true", "false"]),
        ("user_id", pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        ("user_id", pa.array([2**64 - 1, 0], pa.uint64()), [str(2**64 - 1), "0"]),
        ("user_id", pa.array([uuid.UUID(int=5).bytes], pa.uuid()), [str(uuid.UUID(int=5))]),
        ("amount", pa.array([1, None], pa.int32()), [1.0, None]),
        ("amount", pa.array([float("nan"), 2.5]), [None, 2.5]),
        ("amount", pa.array(["3.25", None]), [3.25, None]),
        ("stars", pa.array([4.5, float("nan"), None]), ['{"stars":4.5}', None, None]),
    ],
)
def test_typed_columns_become_text_ids_amounts_and_metadata(
    tmp_path: Path, name: str, values: pa.Array, expected: list[object]
) -> None:
    read_back, _ = load_column(tmp_path, name, values, ImportOptions(metadata_fields=("stars",)))
    assert read_back == expected


def test_ids_in_lists_are_refused_with_the_column_and_its_type(tmp_path: Path) -> None:
    with pytest.raises(UnusableColumnError, match=r"user_id is of type VARCHAR\[\]"):
        load_column(tmp_path, "user_id", pa.array([["a"]]))


def test_ids_are_one_whether_or_not_they_have_a_decimal_point_anywhere_in_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text(HEADER + "17850,1,2026-01-01\n" * 11_000 + "17850.0,1.5,2026-01-01\n")
    (folder / "b.csv").write_text(HEADER + "17850.0,1,2026-01-01\nguest,2.0,2026-01-01\n")
    report = import_events(folder, tmp_path / "out.parquet")
    rows = read(tmp_path / "out.parquet")
    assert {row["user_id"] for row in rows} == {"17850", "guest"}
    assert {row["product_id"] for row in rows} == {"1", "1.5", "2"}
    assert sum("17850.0 is 17850" in note for note in report.notes) == 2


def test_ids_that_spell_a_missing_value_are_missing(load: Load, tmp_path: Path) -> None:
    missing = [
        *("NA", "<NA>", "NULL", "nan", "None", "N/A", " ", "\\N", "\t", "\u00a0", "undefined", "nil"),
        *("(none)", "(not set)", "-", "--", "?", ".", "#N/A", "#NULL!", "#REF!", "\u3000", "\u200b"),
    ]
    lines = "".join(f"{text},p,2026-01-01\n" for text in missing)
    rows, report = load(f"{HEADER}{lines} u\u00a0, p\u2003,2026-01-01\n", DROP)
    assert [(row["user_id"], row["product_id"]) for row in rows] == [("u", "p")]
    assert report.dropped == {"user_id: missing": len(missing)}
    read_back, report = load_column(tmp_path, "user_id", pa.array([" u ", "<NA>", None]), DROP)
    assert read_back == ["u"]
    assert report.dropped == {"user_id: missing": 2}


def test_id_with_a_large_share_of_the_events_is_named(load: Load) -> None:
    lines = [f"{'guest' if i % 3 == 0 else i},p{i % 7},2026-01-01\n" for i in range(300)]
    _, report = load(HEADER + "".join(lines))
    (warning,) = [note for note in report.notes if "of all events" in note]
    assert warning.startswith("user_id guest has 33 % of all events")


def test_made_ids_depend_on_content_and_not_on_the_order_of_the_file(load: Load) -> None:
    a, b = "u,p,2026-01-01\n", "u,q,2026-01-01\n"
    first, second = load(HEADER + a + b + a), load(HEADER + b + a + a)
    ids = set(first.column("event_id"))
    assert ids == set(second.column("event_id"))
    assert len(ids) == 3
    assert any("1 rows equal an earlier one and are kept" in note for note in first.report.notes)


TEXTUAL_TIMESTAMPS = [
    ("2026-01-01T00:00:00Z", JAN_1),
    ("2026-01-01T02:00:00+02:00", JAN_1),
    ("2026-01-01T02:00:00+0200", JAN_1),
    ("2026-01-01 00:00:00 UTC", JAN_1),
    ("2026-01-01 01:00:00 Europe/Berlin", JAN_1),
    ("2026-01-01 00:00:00.25Z", JAN_1 + datetime.timedelta(milliseconds=250)),
    ("2025-12-31 19:00:00 -0500", JAN_1),
    ("2026-01-01 05:30:00 +05:30", JAN_1),
    ("20260101T000000Z", JAN_1),
    ("20251231T190000-0500", JAN_1),
    ("2026-01-01T00:00:00 z", JAN_1),
    ('"2026-01-01 00:00:00,250Z"', JAN_1 + datetime.timedelta(milliseconds=250)),
    ("2025-12-31 19:00:00 EST", JAN_1),
    ("2026-01-01 02:00:00 GMT+2", JAN_1),
]


@pytest.mark.parametrize(
    "cases",
    [
        TEXTUAL_TIMESTAMPS,
        [("1767225600", JAN_1)],
        [("1767225600.5", JAN_1 + datetime.timedelta(milliseconds=500))],
        [("1767225600000", JAN_1)],
        [("1767225600000001", JAN_1 + datetime.timedelta(microseconds=1))],
        [("1767225600000001999", JAN_1 + datetime.timedelta(microseconds=1))],
        [("20260101", JAN_1)],
    ],
)
def test_timestamps_of_many_kinds_are_read(load: Load, cases: list[tuple[str, datetime.datetime]]) -> None:
    lines = "".join(f"{number},u,p,{text}\n" for number, (text, _) in enumerate(cases))
    rows, report = load(f"event_id,{HEADER}{lines}")
    found = {int(row["event_id"]): row["timestamp"] for row in rows}
    assert found == {number: expected for number, (_, expected) in enumerate(cases)}
    assert not any("without a zone" in note for note in report.notes)


def test_timestamps_without_a_zone_are_utc_with_a_note(load: Load) -> None:
    days = ["2026-01-01", "2026/1/1", "2026-01-01 00:00", "2026-01-01 00:00:00"]
    texts = [*days, "20260101T000000", "2026-01-01T00:00:00.000"]
    lines = "".join(f"u,p,{text}\n" for text in [*texts, "2026-01-02T00:00:00Z"])
    loaded = load(HEADER + lines)
    assert loaded.column("timestamp") == [JAN_1] * len(texts) + [JAN_1 + DAY]
    assert f"{len(texts)} timestamps without a zone are taken as UTC" in loaded.report.notes


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


def test_rows_later_than_the_latest_instant_are_invalid(tmp_path: Path) -> None:
    source, out = tmp_path / "events.csv", tmp_path / "out.parquet"
    source.write_text(HEADER + "u,p,2026-01-01\nu,p,2026-01-01T00:00:00.000001Z\n")
    report = import_events(source, out, options=DROP, latest=JAN_1)
    assert (report.rows_written, dict(report.dropped)) == (1, {"timestamp: later than today": 1})
    assert [(each.row, each.column) for each in report.problems] == [(2, "timestamp")]


@pytest.mark.parametrize(("hours", "kept"), [(23, 2), (25, 1)])
def test_rows_are_valid_until_a_day_from_now(load: Load, hours: int, kept: int) -> None:
    instant = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
    assert load(f"{ONE}u,p,{instant.isoformat()}\n", DROP).report.rows_written == kept


@pytest.mark.parametrize("kind", [pa.string(), pa.int64()])
def test_origin_of_numeric_timestamps_can_be_said(tmp_path: Path, kind: pa.DataType) -> None:
    serials = pa.array([46023, 46024]).cast(kind)
    options = ImportOptions(timestamp_unit="d", timestamp_origin=datetime.datetime(1899, 12, 30))
    read_back, report = load_column(tmp_path, "timestamp", serials, options)
    assert read_back == [JAN_1, JAN_1 + DAY]
    assert "timestamp: numbers are taken as days since 1899-12-30 UTC" in report.notes


@pytest.mark.parametrize(
    ("values", "proposal"),
    [
        (["0511", "1231"], "MMDD without a year"),
        (["1", "711"], "--timestamp-origin DATE, the date of day 0"),
        (["536365", "581587"], "look like no time"),
        (["44957", "44958.5"], "--timestamp-unit d --timestamp-origin 1899-12-30"),
        (["19358", "19359"], "--timestamp-unit d (if it is days since 1970)"),
        (["20230131101112"], "--timestamp-format '%Y%m%d%H%M%S'"),
        (["202301311011"], "--timestamp-format '%Y%m%d%H%M'"),
        (["2023013110", "2023123123"], "--timestamp-format '%Y%m%d%H'"),
        (["2301311011"], "--timestamp-format '%y%m%d%H%M'"),
        (["20233101", "20232512"], "--timestamp-format '%Y%d%m'"),
        (["2023031", "2023365"], "--timestamp-format '%Y%j'"),
        (["230131"], "--timestamp-format '%y%m%d'"),
        (["1/2/2023 0:00", "1/31/2023 10:11"], "--timestamp-format '%m/%d/%Y %H:%M'"),
        (["1.2.2023", "31.1.2023"], "--timestamp-format '%d.%m.%Y'"),
        (["Tue, 31 Jan 2023 10:11:12 GMT"], "--timestamp-format '%a, %d %b %Y %H:%M:%S %Z'"),
        (["-5", "0"], "look like no time"),
        (["638107146720000000"], "(if it is ticks of .NET)"),
    ],
)
def test_unread_timestamps_get_a_proposal(load: Load, values: list[str], proposal: str) -> None:
    with pytest.raises(BadRowsError) as caught:
        load(HEADER + "".join(f'u,p,"{value}"\n' for value in values))
    assert caught.value.report.bad_rows == len(values)
    assert proposal in str(caught.value)


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string()])
def test_unit_is_that_of_the_whole_column_and_others_are_refused_by_row(
    tmp_path: Path, kind: pa.DataType
) -> None:
    values = [1767225600000, *[1767225600] * 2, 511, None, 20260101]
    with pytest.raises(BadRowsError) as caught:
        load_column(tmp_path, "timestamp", pa.array(values).cast(kind))
    report = caught.value.report
    assert report.dropped == {
        "timestamp: not of the unit of most rows": 2,
        "timestamp: a number of no known unit": 1,
        "timestamp: missing": 1,
    }
    assert [problem.row for problem in report.problems] == [1, 4, 5, 6]


def test_every_kind_of_problem_is_said_at_once_by_row_column_and_value(load: Load, tmp_path: Path) -> None:
    fields = {"user_id": "u", "product_id": "p", "event_type": "purchase", "amount": "1"}
    fields |= {"timestamp": "2026-01-01T00:00:00Z", "metadata": ""}
    problems = [
        ("user_id", "", "missing"),
        ("user_id", "x" * 300, "unusable"),
        ("timestamp", "yesterday", "unreadable"),
        ("timestamp", "1989-12-31T23:59:59Z", "implausible"),
        ("timestamp", "infinity", "implausible"),
        ("timestamp", "-infinity", "implausible"),
        ("timestamp", "", "missing"),
        ("event_type", "add to cart", "not a name"),
        ("event_type", "", "missing"),
        ("amount", "-3", "negative"),
        ("amount", "1,50", "not a finite number"),
        ("amount", "inf", "not a finite number"),
        ("metadata", "[1]", "not a JSON object"),
    ]
    rows = [fields | {field: value} for field, value, _ in problems] + [fields | {"metadata": "{}"}]
    lines = ["event_id," + ",".join(fields)]
    lines += [f"e{at}," + ",".join(f'"{value}"' for value in row.values()) for at, row in enumerate(rows)]
    lines += ["e,u,p", "both,u,p,purchase,-3,,"]
    with pytest.raises(BadRowsError) as caught:
        load("\n".join(lines) + "\n")
    report = caught.value.report
    assert (report.rows_read, report.bad_rows) == (16, 15)
    both = [("timestamp", "", "missing"), ("amount", "-3", "negative")]
    reasons = Counter(f"{field}: {reason}" for field, _, reason in problems + both)
    assert report.dropped == reasons | {"the row is not CSV of the header's columns": 1}
    where = [(problem.row, problem.column, problem.value) for problem in report.problems]
    assert where == [
        *((row, field, value or None) for row, (field, value, _) in enumerate(problems, 1)),
        (15, None, "e,u,p"),
        *((16, field, value or None) for field, value, _ in both),
    ]
    assert "events.csv row 11, amount: expected a finite number, or nothing, got '1,50'" in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def test_shown_problems_are_limited_but_counts_are_complete(load: Load) -> None:
    text = HEADER + "u,p,never\n" * 50 + "u,p,2026-01-01\n"
    _, report = load(text, ImportOptions(on_bad_rows="drop", problem_limit=3))
    assert [problem.row for problem in report.problems] == [1, 2, 3]
    assert report.bad_rows == 50
    assert "The first 3 of 50:" in report.render()


def test_amounts_are_numbers_in_ascii_digits(load: Load) -> None:
    amounts = ["1_000", "\u0661\u0662", "0x10", "inf", "1e999", "$5", "1e308", "1.1e12"]
    lines = "".join(f"u,p,2026-01-01,{amount}\n" for amount in amounts)
    with pytest.raises(BadRowsError) as caught:
        load("user_id,product_id,timestamp,amount\n" + lines)
    report = caught.value.report
    assert [(each.row, each.value) for each in report.problems] == [*enumerate(amounts, 1)]
    assert report.dropped == {"amount: not a finite number": 6, "amount: too large": 2}


def test_amount_from_quantity_and_price_makes_returns(load: Load) -> None:
    values = ["2,2.5,purchase", "-2,2.5,purchase", "-1,1,view", "0,9,purchase", ",9,purchase", "1,,purchase"]
    lines = "".join(f"u,p,2026-01-0{i},{value}\n" for i, value in enumerate(values, 1))
    rows, report = load("user_id,product_id,timestamp,Quantity,price,event_type\n" + lines, PRODUCT)
    assert [(row["event_type"], row["amount"]) for row in rows] == [
        *(("purchase", 5), ("return", 5), ("view", None), ("purchase", 0)),
        *(("purchase", None), ("purchase", None)),
    ]
    assert not any("columns not used" in note for note in report.notes)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ((), [None, None]),
        (("none",), [None, None]),
        (("page", "on"), ['{"page":[3,null],"on":null}', None]),
    ],
)
def test_only_named_members_of_metadata_are_kept(
    tmp_path: Path, kept: tuple[str, ...], expected: list[str | None]
) -> None:
    values = pa.array([{"page": [3, None], "on": None, "email": "someone@example.com"}, None])
    read_back, _ = load_column(tmp_path, "metadata", values, ImportOptions(metadata_fields=kept))
    assert read_back == expected


@pytest.mark.parametrize(
    ("column", "values", "proposal", "unused"),
    [
        (
            "event",
            "view,addtocart,transaction",
            "view=view --event-type cart=addtocart --event-type purchase=transaction",
            "addtocart",
        ),
        (
            "kind",
            "Add to Cart,Buy",
            "--event-type cart='Add to Cart' --event-type purchase=Buy",
            "Add to Cart",
        ),
        ("Action Type", "0,2", "--event-type '<type>'=0", "0, 2"),
        ("is_purchase", "0,1", "--event-type '<type>'=0", "0, 1"),
        (
            "order_status",
            "delivered,shipped,canceled",
            "--event-type purchase=delivered --event-type purchase=shipped --event-type cancellation=canceled",
            "canceled",
        ),
    ],
)
def test_column_that_looks_like_the_event_type_must_be_mapped(
    load: Load, column: str, values: str, proposal: str, unused: str
) -> None:
    kinds = values.split(",")
    lines = "".join(f"u,p,2026-01-0{i},{kind},5\n" for i, kind in enumerate(kinds, 1) for _ in range(9 - i))
    text = f"visitorid,product_id,timestamp,{column},price\n{lines}"
    with pytest.raises(MissingColumnsError) as caught:
        load(text)
    assert caught.value.missing == ("user_id", "event_type")
    columns = {"user_id": "visitorid"}
    with pytest.raises(MissingColumnsError) as caught:
        load(text, ImportOptions(columns=columns))
    assert caught.value.missing == ("event_type",)
    assert proposal.replace("'<type>'", "<type>") in str(caught.value)
    assert f"--column event_type={shlex.quote(column)} --column amount=price" in str(caught.value)
    assert f"The delivered features use views and purchases, not {unused}.\n" in str(caught.value)
    assert "--purchases-only" in str(caught.value)
    loaded = load(text, ImportOptions(columns=columns, purchases_only=True))
    assert set(loaded.column("event_type")) == {"purchase"}
    options = ImportOptions(
        columns=columns | {"event_type": column}, event_types={k.lower(): "cart" for k in kinds}
    )
    assert "the delivered features use views and purchases, not cart" in load(text, options).report.notes


@pytest.mark.parametrize(("seconds", "noted"), [(750_000_000, True), (1_700_000_000, False)])
def test_numbers_of_long_ago_may_count_from_another_date(load: Load, seconds: int, noted: bool) -> None:
    _, report = load(f"{HEADER}u,p,{seconds}\n")
    assert noted == any("--timestamp-origin, such as 2001-01-01 for Cocoa" in note for note in report.notes)
    cocoa = ImportOptions(timestamp_unit="s", timestamp_origin=datetime.datetime(2001, 1, 1))
    rows, report = load(HEADER + "u,p,750000000\n", cocoa)
    assert rows[0]["timestamp"] == datetime.datetime(2024, 10, 7, 13, 20, tzinfo=datetime.UTC)
    assert not any("Cocoa" in note for note in report.notes)


def test_notes_name_the_event_types_of_the_plan(tmp_path: Path) -> None:
    source = tmp_path / "events.csv"
    source.write_text(TYPED + "u,p,2026-01-01,purchase\n")
    frames = {"view": "pageviews", "order": "orders"}
    report = import_events(source, tmp_path / "out.parquet", frames=frames, purchase_type="order")
    assert "the plan's features use pageviews and orders, not purchase" in report.notes
    assert any("map one with --event-type order=VALUE" in note for note in report.notes)


@pytest.mark.parametrize("name", ["e.csv", "e.tsv.gz", "e.txt.zst", "e.jsonl", "e.ndjson.gz", "E.JSON.ZST"])
def test_kind_and_compression_are_told_by_the_name(tmp_path: Path, name: str) -> None:
    text = "user_id,product_id,timestamp,metadata,amount\nu,17850.0,2026-01-01,,\n"
    if "json" in name.lower():
        text = (
            '{"user_id": "u", "product_id": 17850.0, "timestamp": "2026-01-01", "m.\\"x": 1}\n'
            '{"user_id": "u", "product_id": 9, "timestamp": "2026-01-01", "metadata": {"a": [1]}, "amount": 2.5}'
        )
    write_packed(tmp_path / name, text.encode())
    import_events(tmp_path / name, tmp_path / "out.parquet", options=ImportOptions(metadata_fields=("a",)))
    found = {row["product_id"]: (row["metadata"], row["amount"]) for row in read(tmp_path / "out.parquet")}
    assert found.pop("17850") == (None, None)
    assert found in ({}, {"9": ('{"a":[1]}', 2.5)})


@pytest.mark.parametrize("name", ["e.csv.bz2", "e.jsonl.bz2", "e.zip", "E.JSONL.ZIP", "e.parquet.zip"])
def test_unpacked_files_are_read_and_leave_nothing(tmp_path: Path, name: str) -> None:
    text = (ONE + ",p,2026-01-01\n").encode()
    if "json" in name.lower():
        text = b'{"user_id": "u", "product_id": "p", "timestamp": "2026-01-01"}\n{"product_id": "p"}'
    if "parquet" in name:
        columns = {"user_id": ["u", None], "product_id": ["p", "p"], "timestamp": [JAN_1, JAN_1]}
        with pa.BufferOutputStream() as stream:
            pq.write_table(pa.table(columns), stream)
            text = stream.getvalue().to_pybytes()
    path = tmp_path / name
    if path.suffix == ".bz2":
        write_packed(path, text)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._a.csv", b"x")
            archive.writestr(f"folder/{path.stem}" if path.stem != "e" else "../e.csv", text)
    report = import_events(path, tmp_path / "out.parquet", options=DROP)
    assert [row["user_id"] for row in read(tmp_path / "out.parquet")] == ["u"]
    assert str(report.problems[0]) == f"{name} row 2, user_id: missing"
    assert sorted(os.listdir(tmp_path)) == sorted([name, "out.parquet"])


@pytest.mark.parametrize("names", [[], ["a.csv", "b.csv"], ["a.xlsx"]])
def test_zip_without_one_file_of_data_is_refused(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    with pytest.raises(UnreadableFileError, match=", ".join(names) or "found none"):
        import_events(tmp_path / "a.zip", tmp_path / "out.parquet")


def test_sheet_of_excel_is_read(tmp_path: Path) -> None:
    book = pytest.importorskip("openpyxl", reason="Excel files need the extra").Workbook()
    book.create_sheet("empty")
    header = ("Customer ID", "StockCode", "InvoiceDate", "Price")
    book.active.append(header)
    book.active.append([17850.0, "85123A", datetime.datetime(2010, 12, 1, 8, 26), 2.55])
    book.active.append([None, 71053, datetime.datetime(2010, 12, 1, 8, 26, 1), None])
    book.save(tmp_path / "a.xlsx")
    columns = dict(zip(("user_id", "product_id", "timestamp", "amount"), header, strict=True))
    options = ImportOptions(columns=columns, on_bad_rows="drop")
    report = import_events(tmp_path / "a.xlsx", tmp_path / "out.parquet", options=options)
    [row] = read(tmp_path / "out.parquet")
    assert (row["user_id"], row["product_id"], row["amount"]) == ("17850", "85123A", 2.55)
    assert row["timestamp"] == datetime.datetime(2010, 12, 1, 8, 26, tzinfo=datetime.UTC)
    assert str(report.problems[0]) == "a.xlsx row 2, Customer ID: missing"
    book.create_sheet("more").append(["x"])
    book.save(tmp_path / "a.xlsx")
    with pytest.raises(UnreadableFileError, match="found Sheet, more"):
        import_events(tmp_path / "a.xlsx", tmp_path / "out.parquet", options=options)


@pytest.mark.parametrize("declared", ["A1", "A1:D2", "A1:C9", "A1:F9"])
def test_rows_outside_the_declared_range_of_a_sheet_are_read(tmp_path: Path, declared: str) -> None:
    book = pytest.importorskip("openpyxl", reason="Excel files need the extra").Workbook()
    for row in (
        (*HEADER.strip().split(","), "amount"),
        ("u", "p", "2026-01-01", 5),
        ("v", "p", "2026-01-02"),
    ):
        book.active.append(row)
    book.save(tmp_path / "written.xlsx")
    with (
        zipfile.ZipFile(tmp_path / "written.xlsx") as written,
        zipfile.ZipFile(tmp_path / "a.xlsx", "w") as file,
    ):
        for name in written.namelist():
            file.writestr(name, written.read(name).replace(b'ref="A1:D3"', f'ref="{declared}"'.encode()))
    import_events(tmp_path / "a.xlsx", tmp_path / "out.parquet")
    assert [(row["user_id"], row["amount"]) for row in read(tmp_path / "out.parquet")] == [
        ("u", 5),
        ("v", None),
    ]


def test_folder_skips_hidden_names_and_documents_and_names_them(tmp_path: Path) -> None:
    folder = tmp_path / ".data" / "_in"
    hidden = ("_temporary/0/b.csv", ".ipynb_checkpoints/c.csv", "._a.csv", "_SUCCESS", "~$a.xlsx")
    for number, name in enumerate(("a.csv", *hidden, "Thumbs.db", "README.md")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEADER}u{number},p,2026-01-01\n")
    for pattern in ("", "**/*"):
        report = import_events(folder / pattern, tmp_path / "out.parquet")
        assert report.files == (folder / "a.csv",)
    left_out = next(note for note in report.notes if note.startswith("files left out"))
    assert "README.md" in left_out


def test_links_to_folders_are_left_out_and_those_to_nothing_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text(ONE)
    (folder / "linked").symlink_to(tmp_path)
    report = import_events(folder, tmp_path / "out.parquet")
    assert f"files left out: {folder / 'linked'}" in report.notes
    (folder / "b.csv").symlink_to("nowhere.csv")
    for source in (folder, folder / "b.csv", folder / "*.csv"):
        with pytest.raises(UnreadableFileError, match=r"b\.csv: No such file"):
            import_events(source, tmp_path / "out.parquet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_folder_with_a_part_that_must_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ONE)
    (tmp_path / "part").mkdir(mode=0)
    with pytest.raises(UnreadableFileError, match="part: Permission denied"):
        import_events(tmp_path, tmp_path / "out.parquet")


def test_folder_of_many_kinds_is_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = ("a.csv", "b.csv.zip", "c.csv.bz2", "d.csv.zst")
    for name in names:
        write_packed(folder / name, f"{HEADER}{name},p,2026-01-01\n".encode())
    (folder / "e.jsonl").write_text('{"user_id": "jsonl", "product_id": "p", "timestamp": "2026-01-01"}\n')
    report = import_events(folder, tmp_path / "out.parquet")
    assert {row["user_id"] for row in read(tmp_path / "out.parquet")} == {*names, "jsonl"}
    assert (report.users, len(report.files)) == (5, 5)


def test_folder_with_data_of_unknown_kinds_is_refused_by_name(tmp_path: Path) -> None:
    unknown = ("d.xls", "e.avro", "part-00000", "f.gz")
    for name in ("a.csv", *unknown):
        (tmp_path / name).write_text(ONE)
    with pytest.raises(UnreadableFileError) as caught:
        import_events(tmp_path, tmp_path / "out.parquet")
    assert all(name in str(caught.value) for name in unknown)


@pytest.mark.parametrize("other", ["a.csv.gz", "other/b.parquet", "copy of a.csv"])
def test_files_with_the_same_events_are_refused_by_name(tmp_path: Path, other: str) -> None:
    folder = tmp_path / "in"
    copy = folder / other
    copy.parent.mkdir(parents=True)
    text = ONE + "v,p,2026-01-01\n"
    (folder / "a.csv").write_text(text)
    (folder / "z.csv").write_text(text + "w,p,2026-01-01\n")
    if copy.suffix == ".parquet":
        import_events(folder / "a.csv", tmp_path / "out.parquet")
        table = pq.read_table(tmp_path / "out.parquet")
        pq.write_table(table.select(["user_id", "product_id", "timestamp"]), copy)
    else:
        write_packed(copy, text.encode())
    with pytest.raises(EventFilesError, match="have the same events") as caught:
        import_events(folder, tmp_path / "out.parquet")
    assert str(copy) in str(caught.value)
    assert str(folder / "a.csv") in str(caught.value)
    assert "z.csv" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "codec", "user"),
    [
        ("utf-8", "utf-8", "Jürgen"),
        ("latin-1", "latin-1", "Jürgen\x81"),
        ("latin-1", "cp1252", "Jürgen’s €"),
        ("utf-16", "utf-16", "Jürgen’s €"),
        ("utf-16", "utf-16-le", "Jürgen’s €"),
    ],
)
def test_encoding_of_a_file_can_be_said(tmp_path: Path, encoding: Any, codec: str, user: str) -> None:
    text = f"{HEADER}{user},p,2026-01-01\n"
    write_packed(tmp_path / "a.csv.gz", text.encode(codec))
    import_events(tmp_path / "a.csv.gz", tmp_path / "out.parquet", options=ImportOptions(encoding=encoding))
    assert [row["user_id"] for row in read(tmp_path / "out.parquet")] == [user]


def test_row_in_another_encoding_far_down_refuses_the_file(tmp_path: Path) -> None:
    rows = "u,p,2026-01-01\n" * 100_000 + "Jürgen,p,2026-01-01\n"
    (tmp_path / "a.csv").write_bytes(f"{HEADER}{rows}".encode("latin-1"))
    with pytest.raises(UnreadableFileError, match=r"line 100,002 .* --encoding latin-1"):
        import_events(tmp_path / "a.csv", tmp_path / "out.parquet", options=DROP)


def test_file_without_header_is_read_with_the_names_of_its_columns(load: Load) -> None:
    loaded = load("196,242,3,881250949\nbroken\n186,302,3,891717742\n", NAMED)
    assert loaded.column("user_id") == ["196", "186"]
    assert [problem.row for problem in loaded.report.problems] == [2]


def test_options_of_csv_files_are_refused_for_others(load: Load) -> None:
    with pytest.raises(InvalidOptionError, match="is not CSV"):
        load("{}", ImportOptions(header_names=("user_id",)), name="a.jsonl")


@pytest.mark.parametrize("pattern", ["parts", "parts/*.csv"])
def test_folders_and_patterns_are_read_in_order_of_name(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "b.csv").write_text(f"event_id,{HEADER}e,late,p,2026-01-01\n")
    (folder / "a.csv").write_text(f"event_id,{HEADER}e,early,p,2026-01-01\n,u,p,2026-01-01\n")
    report = import_events(tmp_path / pattern, tmp_path / "out.parquet", options=DROP)
    assert [row["user_id"] for row in read(tmp_path / "out.parquet")] == ["early"]
    assert report.rows_read == 3
    assert str(report.problems[0]).startswith("a.csv row 2, event_id")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_of_a_file_are_not_replaced_by_the_names_of_folders(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "user_id=9" / "Timestamp=2025-01-01"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text(ONE)
    if kind == "parquet":
        pq.write_table(pacsv.read_csv(folder / "a.csv"), folder / "a.parquet")
    import_events(folder / f"a.{kind}", tmp_path / "out.parquet")
    [row] = read(tmp_path / "out.parquet")
    assert (row["user_id"], row["timestamp"]) == ("u", JAN_1)


def test_column_that_a_parquet_file_lacks_is_read_from_its_folder_with_a_note(tmp_path: Path) -> None:
    folder = tmp_path / "user_id=007" / "month=1"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"product_id": ["p", "q"], "timestamp": [JAN_1, JAN_1]}), folder / "a.parquet")
    report = import_events(tmp_path, tmp_path / "out.parquet")
    assert [row["user_id"] for row in read(tmp_path / "out.parquet")] == ["007", "007"]
    assert "read from the names of folders: user_id=VALUE" in report.notes


def test_name_with_pattern_characters_is_the_file_itself(load: Load) -> None:
    assert len(load(ONE, name="a[1]*.csv").rows) == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("events.csv", b"", "the file is empty"),
        ("events.csv", b"\xff\xfeu\x00", "give --encoding utf-16"),
        ("events.csv", b"u\x00s\x00", "give --encoding utf-16"),
        ("events.csv", b"\xfe\xff\x00u", "convert it to UTF-8"),
        ("events.csv", b"\x00u", "convert it to UTF-8"),
        ("events.csv", "Stück\n".encode("latin-1"), "give --encoding latin-1"),
        ("events.parquet", b"not parquet at all", "not readable as Parquet"),
        ("events.xls", b"PK", "expected names that end in .csv"),
        ("events.xlsx", b"PK", "not readable as xlsx"),
        ("events.csv.bz2", b"BZh9", "not readable as bz2"),
        ("events.zip", b"PK", "not readable as zip"),
        ("events.json", b"[]", "it has no JSON object"),
        ("events.jsonl", b'{"user_id": 1}\n{"user', "not readable as JSON"),
        (
            "events.jsonl",
            '{"user_id": "ü"}'.encode("latin-1"),
            "if it is ISO 8859-1 or Windows text, convert",
        ),
        ("events.json", '{"user_id": "ü"}'.encode("utf-16"), "looks like UTF-16; convert it to UTF-8"),
        ("events.ndjson", '{"user_id": "ü"}'.encode("utf-16-be"), "looks like UTF-16; convert it to UTF-8"),
        ("events.csv.gz", b"plain", "not readable as text"),
        ("events.csv", b"\x1f\x8b\x08", r"its name has to end in \.gz"),
        ("events.csv", b"PK\x03\x04", r"its name has to end in \.zip or \.xlsx"),
        ("events.csv", b"PAR1\x15\x04", r"its name has to end in \.parquet"),
        ("events.csv", f"{ONE}v,p,2026-01-01\r\n".encode(), "its lines end in different ways"),
        ("events.csv", None, "no such file"),
    ],
)
def test_unreadable_file_is_refused_with_its_name_and_the_reason(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFileError, match=reason) as caught:
        import_events(tmp_path / name, tmp_path / "out.parquet")
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("out", "memory_limit", "told"),
    [
        ("out.parquet", "plenty", "memory limit plenty"),
        ("nowhere/out.parquet", "1GiB", "nowhere: no such folder"),
    ],
)
def test_impossible_memory_limit_or_folder_is_named(
    tmp_path: Path, out: str, memory_limit: str, told: str
) -> None:
    (tmp_path / "a.csv").write_text(ONE)
    with pytest.raises(EventFilesError, match=told):
        import_events(tmp_path / "a.csv", tmp_path / out, memory_limit=memory_limit)


def test_large_file_spills_under_a_small_memory_limit(tmp_path: Path) -> None:
    size = 400_000
    table = pa.table(
        {
            "event_id": [f"event-number-{i:020d}" for i in range(size)],
            "user_id": [f"user-{i % 977}" for i in range(size)],
            "product_id": [f"product-{i % 101}" for i in range(size)],
            "timestamp": pa.array(range(10**9, 10**9 - size, -1), pa.timestamp("s", tz="UTC")),
        }
    )
    pq.write_table(table, tmp_path / "big.parquet")
    report = import_events(tmp_path / "big.parquet", tmp_path / "out.parquet", memory_limit="96MiB")
    stamps = pq.read_table(tmp_path / "out.parquet", columns=["timestamp"])["timestamp"].to_numpy()
    assert report.rows_written == size
    assert (stamps[1:] >= stamps[:-1]).all()
