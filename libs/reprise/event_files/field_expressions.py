"""SQL expressions that read an event's fields from columns of any type."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from reprise.event_files.exceptions import InvalidOptionError, MissingColumnsError, UnusableColumnError
from reprise.event_files.options import FIELDS, REQUIRED_FIELDS, ImportOptions
from reprise.event_files.source import SourceFile
from reprise.sql import first_line, identifier, literal

_INTEGERS = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}
_FLOATS = frozenset(("FLOAT", "DOUBLE"))
_PLAIN = _INTEGERS | {"UUID", "BOOLEAN", "DATE", "VARCHAR"}
_SAMPLE_ROWS = 10_000
_UNITS = {
    "s": ("seconds", "* 1000000"),
    "ms": ("milliseconds", "* 1000"),
    "us": ("microseconds", "* 1"),
    "ns": ("nanoseconds", "// 1000"),
}

_COMMON_NAMES = {
    "user_id": ("user", "userid", "customer", "customerid", "visitorid", "visitor", "client", "clientid",
                "householdkey", "buyerid", "memberid", "accountid"),
    "product_id": ("product", "productid", "item", "itemid", "sku", "stockcode", "asin", "article",
                   "articleid", "productcode"),
    "timestamp": ("time", "ts", "datetime", "date", "eventtime", "eventtimestamp", "createdat", "invoicedate",
                  "orderdate", "purchasedate", "occurredat", "unixtime", "tdat"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """SQL of a field: the assumption about all its values, if any, and whether a timestamp lacks a time zone."""

    sql: str
    note: str | None = None
    naive: str = "false"


ABSENT = {
    "event_id": Expression("CAST(NULL AS VARCHAR)"),
    "event_type": Expression("'purchase'", "no event_type column: every row is taken as a purchase"),
    "amount": Expression("CAST(NULL AS DOUBLE)", "no amount column: no amounts"),
    "metadata": Expression("CAST(NULL AS VARCHAR)"),
}
"""The fields that a file may lack."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """Counts of non-null, numeric, ``1.0``-like and integer values in a column, and its median."""

    filled: int
    numeric: int
    whole_floats: int
    whole: int
    median: float | None


def resolve_columns(source: SourceFile, mapped: Mapping[str, str]) -> dict[str, str]:
    """Return the file's column by field, without the fields that it lacks.

    Names match exactly, or else case-insensitively.
    """
    by_lower = {name.lower(): name for name in source.columns}
    found: dict[str, str] = {}
    for field in FIELDS:
        wanted = mapped.get(field, field)
        if wanted in source.columns:
            found[field] = wanted
        elif wanted.lower() in by_lower:
            found[field] = by_lower[wanted.lower()]
    missing = [f for f in FIELDS if f not in found and (f in REQUIRED_FIELDS or f in mapped)]
    if missing:
        free = {
            re.sub(r"[^a-z0-9]", "", name.lower()): name
            for name in source.columns
            if name not in found.values()
        }
        guesses: dict[str, str] = {}
        for field in missing:
            for common in filter(free.__contains__, _COMMON_NAMES.get(field, ())):
                guesses.setdefault(field, free[common])
        raise MissingColumnsError(source.path, missing, list(source.columns), guesses)
    return found


def _sample_column(connection: Any, source: SourceFile, column: str) -> _Sample:
    text = f"trim(CAST({identifier(column)} AS VARCHAR))"
    query = f"""
        SELECT count(value), count(TRY_CAST(value AS DOUBLE)),
               count(*) FILTER (regexp_full_match(value, '-?\\d+\\.0+')),
               count(*) FILTER (regexp_full_match(value, '-?\\d+')),
               median(TRY_CAST(value AS DOUBLE))
        FROM (SELECT {text} AS value FROM {source.relation} LIMIT {_SAMPLE_ROWS})
    """
    return _Sample(*connection.execute(query).fetchone())


def field_sql(
    connection: Any, source: SourceFile, field: str, column: str, options: ImportOptions
) -> Expression:
    """Return the SQL that reads a field from a column.

    Ids are text: whole numbers in a floating-point column lose their ``.0``, and bytes that are not printable UTF-8
    become ``0x`` and hexadecimal digits. The event type is in lower case, trimmed, and renamed by the options. The
    amount is ``DOUBLE``: null if missing, infinite if unreadable. The timestamp is ``TIMESTAMPTZ``, null if
    unreadable. The metadata is JSON text.
    """
    match field:
        case "timestamp":
            return _timestamp(connection, source, column, options)
        case "amount":
            return Expression(_amount(source, column))
        case "metadata":
            name = identifier(column)
            if source.columns[column] in {"VARCHAR", "JSON"}:
                return Expression(f"nullif(trim(CAST({name} AS VARCHAR)), '')")
            return Expression(f"CAST(to_json({name}) AS VARCHAR)")
        case "event_type":
            value = f"lower(trim({_id(connection, source, column).sql}))"
            renamed = options.event_types.items()
            cases = (f"WHEN {literal(theirs)} THEN {literal(ours)}" for theirs, ours in renamed)
            return Expression(f"CASE {value} {' '.join(cases)} ELSE {value} END" if renamed else value)
    return _id(connection, source, column)


def _id(connection: Any, source: SourceFile, column: str) -> Expression:
    kind, name = source.columns[column], identifier(column)
    note = f"{column}: whole numbers with a decimal point are read as integers (17850.0 is 17850)"
    if source.is_csv:
        sample = _sample_column(connection, source, column)
        if sample.whole_floats and sample.whole_floats + sample.whole == sample.filled:
            return Expression(f"regexp_replace({name}, '^(-?\\d+)\\.0+$', '\\1')", note)
        return Expression(name)
    if kind in _PLAIN or kind.startswith("ENUM"):
        return Expression(f"CAST({name} AS VARCHAR)")
    if kind in _FLOATS:
        whole = f"isfinite({name}) AND {name} = trunc({name}) AND abs({name}) < 1e18"
        text = f"CASE WHEN {whole} THEN CAST(CAST({name} AS HUGEINT) AS VARCHAR)"
        return Expression(f"{text} WHEN NOT isnan({name}) THEN CAST({name} AS VARCHAR) END", note)
    if kind.startswith("DECIMAL"):
        whole = f"CASE WHEN {name} = trunc({name}) THEN CAST(CAST({name} AS HUGEINT) AS VARCHAR)"
        return Expression(f"{whole} ELSE rtrim(CAST({name} AS VARCHAR), '0') END", note)
    if kind == "BLOB":
        text = f"TRY(decode({name}))"
        printable = f"{text} IS NOT NULL AND NOT regexp_matches({text}, '[\\x00-\\x1f]')"
        return Expression(f"CASE WHEN {printable} THEN {text} ELSE '0x' || lower(hex({name})) END")
    raise UnusableColumnError(source.path, column, kind, "text, numbers, UUIDs or bytes for an id")


def _amount(source: SourceFile, column: str) -> str:
    kind, name = source.columns[column], identifier(column)
    if kind == "VARCHAR":
        value = f"nullif(trim({name}), '')"
        read = f"CASE WHEN {value} IS NOT NULL THEN coalesce(TRY_CAST({value} AS DOUBLE), 'inf'::DOUBLE) END"
    elif kind in _INTEGERS or kind in _FLOATS or kind.startswith("DECIMAL"):
        read = f"CAST({name} AS DOUBLE)"
    else:
        raise UnusableColumnError(source.path, column, kind, "numbers, or text that holds numbers")
    # pandas writes a missing number as NaN; adding zero turns -0.0 into 0.0
    return f"CASE WHEN NOT isnan({read}) THEN {read} + 0.0 END"


def _timestamp(connection: Any, source: SourceFile, column: str, options: ImportOptions) -> Expression:
    kind, name = source.columns[column], identifier(column)
    if kind == "VARCHAR":
        return _textual(connection, source, column, options)
    if options.timestamp_format is not None:
        raise InvalidOptionError(
            f"--timestamp-format reads text, but column {column} of {source.path} is {kind}"
        )
    if kind in {"TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"}:
        return Expression(f"CAST({name} AS TIMESTAMPTZ)")
    if kind.startswith("TIMESTAMP"):
        return Expression(f"CAST(CAST({name} AS TIMESTAMP) AS TIMESTAMPTZ)", naive="true")
    if kind == "DATE":
        note = f"{column}: dates without a time of day are taken as midnight UTC"
        return Expression(f"CAST(CAST({name} AS TIMESTAMP) AS TIMESTAMPTZ)", note=note)
    if kind in _INTEGERS or kind in _FLOATS or kind.startswith("DECIMAL"):
        return _numeric(connection, source, column, options)
    raise UnusableColumnError(source.path, column, kind, "timestamps, dates, epoch numbers or text")


def _textual(connection: Any, source: SourceFile, column: str, options: ImportOptions) -> Expression:
    text = f"trim({identifier(column)})"
    if options.timestamp_format is not None:
        form = options.timestamp_format
        try:
            connection.execute("SELECT try_strptime('', ?)", [form])
        except duckdb.Error as error:
            raise InvalidOptionError(f"--timestamp-format {form}: {first_line(error)}") from None
        zoned = "%z" in form or "%Z" in form
        sql = f"CAST(try_strptime({text}, {literal(form)}) AS TIMESTAMPTZ)"
        return Expression(sql, naive="false" if zoned else "true")
    sample = _sample_column(connection, source, column)
    if sample.numeric * 2 > sample.filled:
        return _numeric(connection, source, column, options)
    zone = r"(?i)(z|utc|gmt|[+-]\d{2}(:?\d{2})?(:?\d{2})?|[a-z_]+/[a-z_/]+)$"
    date_only = f"length({text}) <= 10"
    return Expression(
        f"TRY_CAST({text} AS TIMESTAMPTZ)", naive=f"({date_only} OR NOT regexp_matches({text}, '{zone}'))"
    )


def _numeric(connection: Any, source: SourceFile, column: str, options: ImportOptions) -> Expression:
    median = _sample_column(connection, source, column).median
    name = identifier(column)
    if options.timestamp_unit == "auto" and median is not None and 19000101 <= median <= 22001231:
        digits = f"CAST(TRY_CAST({name} AS BIGINT) AS VARCHAR)"
        note = f"{column}: numbers such as 20260131 are taken as dates, midnight UTC"
        return Expression(f"CAST(try_strptime({digits}, '%Y%m%d') AS TIMESTAMPTZ)", note=note)
    unit = _unit_of(median) if options.timestamp_unit == "auto" else options.timestamp_unit
    long, scale = _UNITS[unit]
    # a double holds microseconds of our era exactly, but not nanoseconds
    whole = f"TRY_CAST(TRY_CAST({name} AS BIGINT) {scale} AS BIGINT)"
    exact = f"TRY_CAST({name} AS DOUBLE) = TRY_CAST({name} AS BIGINT)"
    fraction = f"TRY_CAST(round(TRY_CAST({name} AS DOUBLE) {scale.replace('//', '/')}) AS BIGINT)"
    micros = f"CASE WHEN {exact} THEN TRY({whole}) ELSE {fraction} END"
    decided = " (decided by their size)" if options.timestamp_unit == "auto" else ""
    note = f"{column}: numbers are taken as {long} since 1970-01-01 UTC{decided}"
    return Expression(f"TRY(CAST(make_timestamp({micros}) AS TIMESTAMPTZ))", note=note)


def _unit_of(median: float | None) -> str:
    size = abs(median or 0.0)
    for unit, limit in (("s", 1e11), ("ms", 1e14), ("us", 1e17)):
        if size < limit:
            return unit
    return "ns"
