"""SQL that reads timestamps of any spelling, and proposals for those that it does not read."""

from typing import Any

import duckdb

from reprise.event_files.exceptions import InvalidOptionError, UnusableColumnError
from reprise.event_files.options import ImportOptions
from reprise.event_files.source import SourceFile
from reprise.event_files.values import FLOATS, INTEGERS, Expression, cleaned, number
from reprise.events.event import ERA_US
from reprise.sql import first_line, identifier, literal

_UNITS = {
    "d": ("days", "* 86400000000"),
    "s": ("seconds", "* 1000000"),
    "ms": ("milliseconds", "* 1000"),
    "us": ("microseconds", "* 1"),
    "ns": ("nanoseconds", "// 1000"),
}
_ERA = tuple(instant // 1_000_000 for instant in ERA_US)
"""In seconds. Between them, the numbers of two units are never the same."""

ERA_CHECK = (
    "expected a number of seconds, ms, us or ns since 1970, or a date such as 20260131, from 1990 to 2099"
)

_TICKS = (630_822_816 * 10**9, 646_602_048 * 10**9)
"""Ticks of .NET, 100 ns since the year 1, of the years 2000 to 2049; as nanoseconds these would be of early 1990."""

# abbreviations that ICU takes for other zones than most people, such as BST for Dhaka
_AMBIGUOUS_ZONES = "act|aet|agt|art|ast|bet|bst|cnt|ctt|ect|iet|mit|net|nst|plt|pnt|prt|sst|vst"

# as seconds these would be after 2030
_IS_DATE_HOUR = r"""
    regexp_full_match(CAST(TRY_CAST(v_number AS BIGINT) AS VARCHAR),
                      '(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])'
                      || '|[2-4]\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])[0-5]\d')
"""

_DATES = ("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y", "%m-%d-%Y", "%d-%m-%Y",
          "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%Y%m%d", "%Y.%m.%d")  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_FORMATS = (
    *(date + time for date in _DATES for time in _TIMES),
    *(
        "%Y%m%d%H%M%S",
        "%Y%m%d%H%M",
        "%Y%m%d%H",
        "%y%m%d%H%M",
        "%Y%m",
        "%y%m%d",
        "%Y%d%m",
        "%Y%j",
        "%d%b%Y:%H:%M:%S",
    ),
    *("%a, %d %b %Y %H:%M:%S %Z", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %Z %Y", "%d/%b/%Y:%H:%M:%S %z"),
)
_LIKENESSES = (
    (
        "MMDD without a year",
        r"regexp_full_match(value, '(0?[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])')",
        "write the year before it in the file, as in 20260131",
    ),
    ("a day number", "n BETWEEN 0 AND 7304", "--timestamp-unit d --timestamp-origin DATE, the date of day 0"),
    ("days since 1970", "n BETWEEN 7305 AND 32873", "--timestamp-unit d"),
    (
        "ticks of .NET",
        f"n BETWEEN {_TICKS[0]} AND {_TICKS[1]}",
        "write seconds instead, (ticks - 621355968000000000) / 10000000",
    ),
    (
        "a spreadsheet's serial",
        "n BETWEEN 32874 AND 73050",
        "--timestamp-unit d --timestamp-origin 1899-12-30",
    ),
)


def timed_relation(source: SourceFile, column: str) -> str:
    """Return the relation of a file with its timestamps as ``v_text`` and ``v_number``, and their ``v_unit``.

    Values that are timestamps already stay as they are in ``v_text``.
    """
    kind, name = source.columns[column], identifier(column)
    text = name if kind.startswith("TIMESTAMP") else cleaned(name)
    size = number("v_text") if kind == "VARCHAR" else f"CAST({name} AS DOUBLE)"
    scales = (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
    ranges = (
        f"WHEN v_number >= {_ERA[0] * k} AND v_number < {_ERA[1] * k} THEN '{unit}'" for unit, k in scales
    )
    return f"""
        (SELECT *, CASE WHEN v_text IS NULL THEN NULL WHEN v_number IS NULL THEN 'text'
                        WHEN v_number BETWEEN 19900101 AND 20991231 THEN 'date' {" ".join(ranges)}
                        ELSE 'none' END AS v_unit
         FROM (SELECT *, {size if _is_numeric(kind) or kind == "VARCHAR" else "NULL"} AS v_number
               FROM (SELECT *, {text} AS v_text FROM {source.relation})))
    """


def _is_numeric(kind: str) -> bool:
    return kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL")


def timestamp_sql(connection: Any, source: SourceFile, column: str, options: ImportOptions) -> Expression:
    """Return the SQL that reads ``TIMESTAMPTZ`` from ``timed_relation``, null if it cannot be read."""
    kind, name = source.columns[column], identifier(column)
    form, unit = options.timestamp_format, options.timestamp_unit
    if form is not None and unit != "auto":
        raise InvalidOptionError(
            "--timestamp-format reads text and --timestamp-unit numbers: give one of them"
        )
    if options.timestamp_origin is not None and unit == "auto":
        raise InvalidOptionError("--timestamp-origin needs the numbers' --timestamp-unit")
    if form is not None:
        if kind != "VARCHAR" and kind not in INTEGERS:
            raise InvalidOptionError(
                f"--timestamp-format reads text, but column {column} of {source.path} is {kind}"
            )
        return _formatted(connection, form)
    if kind == "VARCHAR" or _is_numeric(kind):
        value = "v_text" if kind == "VARCHAR" else name
        if unit == "auto":
            return _inferred(connection, source, column, value)
        return _numeric(column, value, unit, options.timestamp_origin)
    if kind in {"TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"}:
        return Expression(f"CAST({name} AS TIMESTAMPTZ)")
    if kind.startswith("TIMESTAMP"):
        return Expression(f"CAST(CAST({name} AS TIMESTAMP) AS TIMESTAMPTZ)", naive="true")
    if kind == "DATE":
        note = f"{column}: dates without a time of day are taken as midnight UTC"
        return Expression(f"CAST(CAST({name} AS TIMESTAMP) AS TIMESTAMPTZ)", note)
    raise UnusableColumnError(source.path, column, kind, "timestamps, dates, epoch numbers or text")


def _formatted(connection: Any, form: str) -> Expression:
    try:
        connection.execute("SELECT try_strptime('', ?)", [form])
    except duckdb.Error as error:
        raise InvalidOptionError(f"--timestamp-format {form}: {first_line(error)}") from None
    zoned = "%z" in form or "%Z" in form
    sql = f"CAST(try_strptime(v_text, {literal(form)}) AS TIMESTAMPTZ)"
    return Expression(sql, naive="false" if zoned else "true")


def _inferred(connection: Any, source: SourceFile, column: str, value: str) -> Expression:
    """Read each value in the unit of most; the units of numbers are told by their size."""
    most = connection.execute(
        f"SELECT v_unit, bool_and({_IS_DATE_HOUR} OR v_number BETWEEN {_TICKS[0]} AND {_TICKS[1]})"
        f" FROM {timed_relation(source, column)}"
        " GROUP BY v_unit HAVING v_unit <> 'none' ORDER BY count(*) DESC, v_unit LIMIT 1"
    ).fetchone()
    chosen, misread = most or ("s", False)
    if chosen in {"s", "ns"} and misread:
        return Expression("CAST(NULL AS TIMESTAMPTZ)", doubt="'era'")
    if chosen == "text":
        read = _textual()
    elif chosen == "date":
        digits = f"CAST(TRY_CAST({value} AS BIGINT) AS VARCHAR)"
        note = f"{column}: numbers such as 20260131 are taken as dates, midnight UTC"
        read = Expression(f"CAST(try_strptime({digits}, '%Y%m%d') AS TIMESTAMPTZ)", note)
    else:
        read = _numeric(column, value, chosen, None)
        read = Expression(read.sql, f"{read.note} (decided by their size)" if most else None)
    doubt = f"CASE WHEN v_unit = 'none' THEN 'era' WHEN v_unit <> '{chosen}' THEN 'unit' END"
    return Expression(f"CASE WHEN v_unit = '{chosen}' THEN {read.sql} END", read.note, read.naive, doubt)


def _textual() -> Expression:
    # exporters write basic ISO 8601, a comma before the fraction and a blank before the offset
    iso = r"regexp_replace(v_text, '^(\d{4})(\d\d)(\d\d)[T ](\d\d):?(\d\d):?(\d\d)', '\1-\2-\3T\4:\5:\6')"
    iso = rf"regexp_replace(regexp_replace({iso}, '(:\d\d),(\d)', '\1.\2'), ' ([+-]\d\d)', '\1')"
    iso = f"regexp_replace({iso}, ' ?[zZ]$', 'Z')"
    ambiguous = rf"WHEN regexp_matches(v_text, '(?i)\b({_AMBIGUOUS_ZONES})$') THEN NULL"
    iso = rf"CASE {ambiguous} WHEN regexp_matches(v_text, '^\d{{8}}[T ]|,| [zZ+-]|z$') THEN {iso} ELSE v_text END"
    # a zone can be added to a timestamp that has none
    zoned = f"TRY_CAST({iso} || ' EST' AS TIMESTAMPTZ), TRY_CAST({iso} || ' 00:00 EST' AS TIMESTAMPTZ)"
    naive = f"CASE WHEN suffix(v_text, 'Z') THEN false ELSE coalesce({zoned}) IS NOT NULL END"
    return Expression(f"TRY_CAST({iso} AS TIMESTAMPTZ)", naive=naive)


def _numeric(column: str, value: str, unit: str, origin: Any) -> Expression:
    long, scale = _UNITS[unit]
    # a double holds microseconds of our era exactly, but not nanoseconds
    whole = f"TRY_CAST(TRY_CAST({value} AS BIGINT) {scale} AS BIGINT)"
    exact = f"v_number = TRY_CAST({value} AS BIGINT)"
    fraction = f"TRY_CAST(round(v_number {scale.replace('//', '/')}) AS BIGINT)"
    micros = f"CASE WHEN {exact} THEN TRY({whole}) ELSE {fraction} END"
    start = f"{origin:%Y-%m-%d}" if origin else "1970-01-01"
    shift = f" + (TIMESTAMP '{start}' - TIMESTAMP '1970-01-01')" if origin else ""
    note = f"{column}: numbers are taken as {long} since {start} UTC"
    return Expression(f"TRY(CAST(make_timestamp({micros}){shift} AS TIMESTAMPTZ))", note)


def propose_reading(connection: Any, values: str) -> tuple[str | None, tuple[str, ...]]:
    """Return what the texts ``value`` of an SQL query look like and the options that read all of them, if any do.

    The formats among them are returned once more by themselves.
    """
    era = "BETWEEN TIMESTAMP '1990-01-01' AND TIMESTAMP '2100-01-01'"
    tests = [f"CAST(try_strptime(value, {literal(form)}) AS TIMESTAMP) {era}" for form in _FORMATS]
    tests += [test for _, test, _ in _LIKENESSES] + ["n IS NOT NULL"]
    selected = ", ".join(f"bool_and(coalesce({test}, false))" for test in tests)
    example, *hits = connection.execute(
        f"SELECT min(value), {selected} FROM (SELECT *, {number('value')} AS n FROM ({values}))"
    ).fetchone()
    formats = tuple(form for form, hit in zip(_FORMATS, hits, strict=False) if hit)
    remedies = [f"--timestamp-format '{form}'" for form in formats]
    likenesses = zip(_LIKENESSES, hits[len(_FORMATS) :], strict=False)
    remedies += [f"{remedy} (if it is {what})" for (what, _, remedy), hit in likenesses if hit]
    if not remedies and hits[-1]:
        remedies = ["--column timestamp=COLUMN; these numbers look like no time"]
    return f"timestamps such as {example}: {', or '.join(remedies)}" if remedies else None, formats
