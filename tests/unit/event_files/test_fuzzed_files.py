"""Random event files, each read by the importer and independently by pandas, row by row.

A failure names the seed, which makes the same file again. The soak reads 10,000 files.
"""

import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from reprise.event_files.exceptions import BadRowsError
from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions
from reprise.event_files.report import RowProblem
from support.collection import SOAK

FILES = 10_000 if SOAK else 40
"""How many files are read; each import starts a database, which takes a tenth of a second."""

MISSING = (
    *("", "  ", "NA", "n/a", "<NA>", "NULL", "nan", "None", "NaT"),
    *("\\N", "(null)", "\u00a0", "-", "?", "#REF!"),
)
BLANKS = " \t\n\r\f\v\u00a0\ufeff"
LETTERS = {"utf-8": "aé日😀Ω", "utf-8-sig": "aé日Ω", "latin-1": "aéÜ£", "utf-16": "aé日Ω"}
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
PER_UNIT = {"s": Decimal(10**6), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal(1) / 1000}
FORMATS = ("%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f %z")
TIMES = ("text", *PER_UNIT, "date", "days", *FORMATS)
UNUSABLE_TIMES = {
    "text": (
        *("soon", "2023-02-30T00:00:00Z", "2023-13-01", "12345"),
        *("0511", "1989-12-31T23:59:59Z", "2100-01-01"),
    ),
    "date": ("20230230", "2023-01-31", "soon", "511"),
    "days": ("soon", "99999999", "1e300", "2023-01-31"),
}
UNUSABLE_AMOUNTS = ("-5", "-0.01", "1_000", "1,5", "many", "inf", "1e13", "1e999", "0x10", "5 EUR")
Row = tuple[str, str, str, float | None, int]


@dataclass
class Dialect:
    """How a file is written, and the options that its reader needs."""

    delimiter: str
    encoding: str
    line_end: str
    quoting: float  # share of the cells that are quoted without need
    times: str
    header: dict[str, str]  # the file's name by field, in order; other columns have no field
    headerless: bool
    options: dict[str, Any]


@dataclass
class Fault:
    """What a report has to say about a row; of a row of the wrong width, the value is its line."""

    row: int
    column: str | None
    value: str | None


def random_dialect(rng: random.Random) -> Dialect:
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"))
    times = rng.choice(TIMES)
    fields = [
        "user_id",
        "product_id",
        "timestamp",
        *rng.sample(["event_id", "event_type", "amount"], rng.randrange(4)),
    ]
    names = {field: rng.choice((field, field.upper(), f" {field}")) for field in fields}
    options: dict[str, Any] = {"encoding": encoding.removesuffix("-sig")}
    if rng.random() < 0.3:
        names["user_id"] = rng.choice(("Customer; ID", "Customer\nID"))
        options["columns"] = {"user_id": names["user_id"]}
    if rng.random() < 0.3:
        options["event_types"] = {"buy": "purchase"}
    if times == "days":
        options["timestamp_unit"] = "d"
        if rng.random() < 0.7:
            options["timestamp_origin"] = datetime(1995, 6, 1)
    if times in FORMATS:
        options["timestamp_format"] = times
    order = list(names.items()) + [
        (f"extra {at}", rng.choice((f"extra {at}", ""))) for at in range(rng.randrange(3))
    ]
    rng.shuffle(order)
    headerless = rng.random() < 0.15
    if headerless:
        order = [(field, field) for field, _ in order]
        options.pop("columns", None)
        options["header_names"] = tuple(field for field, _ in order)
    line_end = rng.choice(("\n", "\n", "\r\n", "\r"))
    quoting = rng.choice((0.0, 0.2, 1.0))
    return Dialect(rng.choice(",;\t|"), encoding, line_end, quoting, times, dict(order), headerless, options)


def random_id(rng: random.Random, dialect: Dialect, kind: int) -> str:
    number = rng.randrange(10, 30)
    letter = rng.choice(LETTERS[dialect.encoding])
    odd = "" if dialect.headerless else rng.choice((dialect.delimiter, '"', ";", "'", "\\", dialect.line_end))
    plain = (
        str(number),
        f"{number}.0",
        f"{number}.5",
        f"00{number}",
        f"x{number}",
        f"{number}e5",
        f"-{number}",
    )
    text = (
        plain[rng.randrange(2)]
        if kind == 0
        else rng.choice((*plain, f"{letter}{odd}{number}", f"{letter}\n{letter}"))
    )
    return rng.choice(("", "", "", " ", "\u00a0")) + text + rng.choice(("", "", "", " ", "  "))


def random_time(rng: random.Random, times: str) -> str:
    """Return an instant of the years 1990 to 2099 in one of the spellings of ``times``."""
    # a file of nanoseconds of 1990 alone is refused as ticks of .NET
    first = 662_688_000 if times == "ns" else 631_152_000
    us = rng.randrange(first * 10**6, 4_102_444_800 * 10**6)
    moment = EPOCH + us * MICROSECOND
    if times == "text":
        zone = timezone(timedelta(minutes=rng.choice((60, -300, 330))))
        local = moment.astimezone(zone).replace(microsecond=0)
        return rng.choice(
            (
                moment.isoformat(),
                moment.isoformat().replace("+00:00", "Z"),
                f"{moment:%Y-%m-%d %H:%M:%S.%f}",
                f"{moment:%Y-%m-%d %H:%M:%S,%f}",
                f"{moment:%Y-%m-%d %H:%M}",
                f"{moment:%Y-%m-%d}",
                f"{moment:%Y%m%dT%H%M%SZ}",
                local.isoformat(),
                f"{local:%Y-%m-%d %H:%M:%S %z}",
            )
        )
    if times == "date":
        return f"{moment:%Y%m%d}"
    if times == "days":
        return rng.choice((str(rng.randrange(8000, 30_000)), f"{rng.randrange(8000, 30_000)}.25"))
    if times in PER_UNIT:
        whole = int(us / PER_UNIT[times]) + (rng.randrange(1000) if times == "ns" else 0)
        fractions = {"s": ("", ".0", ".5", ".25"), "ms": ("", ".0", ".5")}
        return f"{whole}{rng.choice(fractions.get(times, ('',)))}"
    return f"{moment:{times}}"


def random_cell(
    rng: random.Random, dialect: Dialect, field: str, row: dict[str, str], kinds: dict[str, int]
) -> str:
    cells: tuple[str, ...] = ("", "x", "a,b;c", 'say "no"', "1")
    match field:
        case "user_id" | "product_id":
            cells = (random_id(rng, dialect, kinds[field]),)
        case "event_id":
            cells = (f"e{rng.randrange(60)}",)
        case "timestamp":
            time = random_time(rng, dialect.times)
            cells = (time, f"{time} ")
        case "event_type":
            buy = ("buy", " BUY") if "event_types" in dialect.options else ()
            cells = ("view", "View ", "purchase", " PURCHASE", "cart", "add_to_cart", *buy)
        case "amount":
            number = f"{10 ** rng.uniform(-3, 12):.{rng.randrange(4)}f}"
            cells = (number, f" {number} ", "0", "-0.0", "+5", ".5", "5.", "1e3", "1E-3", rng.choice(MISSING))
            if row.get("event_type", "").strip().lower() == "view":
                cells = (*UNUSABLE_AMOUNTS, *MISSING, "3")
    return rng.choice(cells)


def break_row(rng: random.Random, dialect: Dialect, row: dict[str, str]) -> tuple[str, str | None]:
    """Make one field unusable; return it, and the value that a report shows."""
    field = rng.choice([field for field in row if not field.startswith("extra")])
    bad: str = rng.choice(MISSING)
    value: str | None = None
    if field.endswith("_id"):
        if rng.random() < 0.3:
            bad = value = "i" * 257
    elif field == "timestamp":
        if rng.random() < 0.7:
            others = ("soon", "511", "20230131") if dialect.times in PER_UNIT else ("soon", "yesterday")
            bad = value = rng.choice(UNUSABLE_TIMES.get(dialect.times, others))
    elif field == "event_type":
        if "amount" in row:
            row["amount"] = "0"
        if rng.random() < 0.5:
            bad = value = rng.choice(("add to cart", "9lives", "é"))
    else:
        bad = value = rng.choice(UNUSABLE_AMOUNTS)
        if "event_type" in row:
            row["event_type"] = "purchase"
    row[field] = bad
    return dialect.header[field].strip(), value


def encoded_cell(rng: random.Random, dialect: Dialect, cell: str, *, first: bool) -> str:
    needed = any(mark in cell for mark in (dialect.delimiter, '"', "\n", "\r")) or (
        first and not cell.strip()
    )
    if needed or rng.random() < dialect.quoting:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def random_file(rng: random.Random, path: Path) -> tuple[Dialect, list[Fault]]:
    """Write a file; return its dialect and the faults of its broken rows, at most a quarter."""
    dialect = random_dialect(rng)
    fields = list(dialect.header)
    kinds = {"user_id": rng.randrange(3), "product_id": rng.randrange(3)}
    count = rng.randrange(1, 40)
    broken = (
        set(rng.sample(range(2, count + 1), rng.randrange(count // 4 + 1))) if rng.random() < 0.6 else set()
    )
    lines, faults = [], []
    if not dialect.headerless:
        names = dialect.header.values()
        lines.append([encoded_cell(rng, dialect, name, first=not at) for at, name in enumerate(names)])
    for number in range(1, count + 1):
        row: dict[str, str] = {}
        for field in sorted(fields, key=lambda field: field == "amount"):
            row[field] = random_cell(rng, dialect, field, row, kinds)
        width = len(fields)
        if number in broken:
            if rng.random() < 0.4:
                width = rng.choice([*range(2, width), width + 1, width + 2])
            else:
                faults.append(Fault(number, *break_row(rng, dialect, row)))
        cells = [*(row[field] for field in fields), "x", "x"][:width]
        lines.append([encoded_cell(rng, dialect, cell, first=not at) for at, cell in enumerate(cells)])
        if width != len(fields):
            faults.append(Fault(number, None, dialect.delimiter.join(lines[-1])))
    text = dialect.line_end.join(dialect.delimiter.join(cells) for cells in lines)
    path.write_bytes((text + rng.choice(("", dialect.line_end))).encode(dialect.encoding))
    return dialect, sorted(faults, key=lambda fault: fault.row)


def raw_cells(path: Path, dialect: Dialect) -> pd.DataFrame:
    """Return a file's cells by field as pandas reads them; ``wrong`` is whether the row is of another width."""
    cells = pd.read_csv(
        path,
        sep=dialect.delimiter,
        encoding=dialect.encoding,
        engine="python",
        dtype=str,
        keep_default_na=False,
        na_values=["\0"],
        header=None,
        skiprows=0 if dialect.headerless else 1,
        names=[*dialect.header, "wrong", "second of two"],
        index_col=False,
    )
    last = list(dialect.header)[-1]
    return cells.assign(wrong=cells["wrong"].notna() | cells[last].isna())


def cleaned(cells: "pd.Series[str]") -> "pd.Series[Any]":
    stripped = cells.astype(str).map(lambda cell: cell.strip(BLANKS))
    return stripped.mask(stripped.str.lower().isin([word.strip(BLANKS).lower() for word in MISSING]), None)


def whole_ids(ids: "pd.Series[Any]") -> "pd.Series[Any]":
    known = ids.dropna()
    decimal = known.str.fullmatch(r"-?[0-9]+\.0+")
    if decimal.all() or known.str.fullmatch("-?[0-9]+").any():
        return ids.mask(ids.index.isin(known.index[decimal.astype(bool)]), ids.str.partition(".")[0])
    return ids


def instants(times: "pd.Series[str]", dialect: Dialect) -> list[int]:
    """Return microseconds since 1970."""
    if dialect.times in PER_UNIT:
        return [int(Decimal(text) * PER_UNIT[dialect.times]) for text in times]
    if dialect.times == "days":
        origin = dialect.options.get("timestamp_origin", "1970-01-01")
        read = pd.Timestamp(origin, tz="UTC") + pd.to_timedelta(times.astype(float), unit="D")
    elif dialect.times == "text":
        read = pd.to_datetime(times.str.replace(",", "."), format="mixed", utc=True)
    else:
        read = pd.to_datetime(times, format="%Y%m%d" if dialect.times == "date" else dialect.times, utc=True)
    return [(moment.to_pydatetime() - EPOCH) // MICROSECOND for moment in read]


def read_by_pandas(cells: pd.DataFrame, dialect: Dialect, faulty: Sequence[int]) -> list[Row]:
    """Return the events of a file without the faulty rows, sorted."""
    full = cells[~cells["wrong"]].copy()
    for field in {"user_id", "product_id", "event_id"} & set(full.columns):
        full[field] = whole_ids(cleaned(full[field]))
    valid = full[~full.index.isin([row - 1 for row in faulty])]
    if "event_id" in valid.columns:
        valid = valid.drop_duplicates("event_id")
    types = pd.Series("purchase", valid.index)
    if "event_type" in valid.columns:
        types = cleaned(valid["event_type"]).str.lower().replace(dialect.options.get("event_types", {}))
    amounts: list[float | None] = [None] * len(valid)
    if "amount" in valid.columns:
        texts = zip(types, cleaned(valid["amount"]), strict=True)
        # adding 0.0 makes -0.0 positive, which sorts apart
        amounts = [None if kind == "view" or text is None else float(text) + 0.0 for kind, text in texts]
    times = instants(cleaned(valid["timestamp"]), dialect)
    return sorted(zip(valid["user_id"], valid["product_id"], types, amounts, times, strict=True), key=repr)


def imported(path: Path) -> list[Row]:
    rows = pq.read_table(path).to_pylist()
    names = ("user_id", "product_id", "event_type", "amount")
    return sorted(
        ((*(row[name] for name in names), (row["timestamp"] - EPOCH) // MICROSECOND) for row in rows),
        key=repr,
    )


def assert_told(
    problems: Sequence[RowProblem], faults: Sequence[Fault], cells: pd.DataFrame, dialect: Dialect
) -> None:
    """Compare the problems of a report with the faults, and their values with the cells that pandas read."""
    assert [Fault(each.row, each.column, each.value) for each in problems] == faults
    fields = {name.strip(): field for field, name in dialect.header.items()}
    for each in problems:
        row = cells.iloc[each.row - 1]
        if each.column is None:
            assert row["wrong"]
        elif each.value is None:
            assert cleaned(row[[fields[each.column]]]).isna().all()
        else:
            assert row[fields[each.column]] == each.value


def in_another_kind(
    rng: random.Random, path: Path, dialect: Dialect, cells: pd.DataFrame, faults: list[Fault]
) -> tuple[Path, Dialect, pd.DataFrame, list[Fault]]:
    """Write a file of CSV again, compressed, or as JSON Lines or Parquet, which have no rows of the wrong width."""
    kind = rng.choice((".gz", ".jsonl", ".parquet"))
    other = path.with_name(path.name + kind)
    if kind == ".gz":
        other.write_bytes(gzip.compress(path.read_bytes()))
        return other, dialect, cells, faults
    kept = cells[~cells["wrong"]]
    places = {row: at for at, row in enumerate(kept.index + 1, 1)}
    names = {field: name.strip() for field, name in dialect.header.items() if name.strip()}
    table = kept[list(names)].rename(columns=names)
    if kind == ".jsonl":
        other.write_text(table.to_json(orient="records", lines=True, force_ascii=rng.random() < 0.5), "utf-8")
    else:
        table.to_parquet(other)
    options = {
        name: given for name, given in dialect.options.items() if name not in {"encoding", "header_names"}
    }
    moved = [replace(fault, row=places[fault.row]) for fault in faults if fault.row in places]
    return other, replace(dialect, options=options), kept.reset_index(drop=True), moved


def check_file(seed: int, folder: Path) -> None:
    rng = random.Random(seed)
    path, out = folder / rng.choice(("events.csv", "events.tsv", "events.txt")), folder / "out.parquet"
    dialect, faults = random_file(rng, path)
    cells = raw_cells(path, dialect)
    other = random.Random(seed ^ 0xFFFF)  # leaves the CSV files of the seeds as they are
    if other.random() < 0.3:
        first = path
        path, dialect, cells, faults = in_another_kind(other, path, dialect, cells, faults)
        first.unlink()
    options = ImportOptions(**dialect.options, problem_limit=1000)
    if faults:
        with pytest.raises(BadRowsError) as caught:
            import_events(path, out, options=options, latest=LATEST)
        assert_told(caught.value.report.problems, faults, cells, dialect)
        options = ImportOptions(**dialect.options, problem_limit=1000, on_bad_rows="drop")
    report = import_events(path, out, options=options, latest=LATEST)
    assert report.bad_rows == len(faults)
    assert imported(out) == read_by_pandas(cells, dialect, [fault.row for fault in faults])
    path.unlink()


@pytest.mark.slow
def test_files_are_read_as_pandas_reads_them_or_refused_by_row_column_and_value(tmp_path: Path) -> None:
    for seed in range(FILES):
        try:
            check_file(seed, tmp_path)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
