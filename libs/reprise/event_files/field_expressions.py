"""SQL expressions that read an event's fields from columns of any type."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from reprise.event_files.exceptions import InvalidOptionError, MissingColumnsError, UnusableColumnError
from reprise.event_files.options import FIELDS, REQUIRED_FIELDS, ImportOptions
from reprise.event_files.source import SourceFile
from reprise.event_files.timestamps import timestamp_sql
from reprise.event_files.values import FLOATS, INTEGERS, Expression, cleaned, number
from reprise.sql import identifier, literal

_PLAIN = INTEGERS | {"UUID", "BOOLEAN", "DATE", "VARCHAR"}

_COMMON_NAMES = {
    "user_id": ("user", "userid", "customer", "customerid", "visitorid", "visitor", "client", "clientid",
                "householdkey", "buyerid", "memberid", "accountid"),
    "product_id": ("product", "productid", "item", "itemid", "sku", "stockcode", "asin", "article",
                   "articleid", "productcode"),
    "timestamp": ("time", "ts", "datetime", "date", "eventtime", "eventtimestamp", "createdat", "invoicedate",
                  "orderdate", "purchasedate", "occurredat", "unixtime", "tdat"),
    "event_type": ("event", "eventname", "eventtype", "action", "actiontype", "behavior", "behaviour",
                   "behaviortype", "activity", "activitytype", "interaction", "interactiontype",
                   "transactiontype", "ispurchase", "purchased", "isorder", "ordered", "bought", "converted"),
    "amount": ("total", "totalprice", "totalamount", "orderamount", "revenue", "salesvalue", "saleprice",
               "price", "value", "unitprice"),
}  # fmt: skip
_UNIT_PRICES = {"price", "unitprice"}
_QUANTITIES = ("quantity", "qty")
_COMMON_TYPES = {
    "view": ("view", "viewed", "views", "pageview", "productview", "viewitem", "detailview", "detail", "pv",
             "click", "clicked", "clicks"),
    "purchase": ("purchase", "purchased", "purchases", "buy", "bought", "buys", "order", "ordered", "orders",
                 "sale", "transaction"),
    "cart": ("cart", "addtocart", "addcart", "basket", "addtobasket"),
    "return": ("return", "returned", "refund", "refunded"),
    "cancellation": ("cancelled", "canceled", "cancellation"),
}  # fmt: skip
# statuses of an order; a column of them alone is no event type, because all its rows are purchases
_KEPT_STATUSES = ("delivered", "shipped", "completed", "complete", "paid", "invoiced", "fulfilled")
_MANY_TYPES = 50


ABSENT = {
    "event_id": Expression("CAST(NULL AS VARCHAR)"),
    "event_type": Expression("'purchase'", "no event_type column: every row is taken as a purchase"),
    "amount": Expression("CAST(NULL AS DOUBLE)", "no amount column: no amounts"),
    "metadata": Expression("CAST(NULL AS VARCHAR)"),
}
"""The fields that a file may lack."""


def find_columns(source: SourceFile, options: ImportOptions) -> tuple[dict[str, str], dict[str, str]]:
    """Return the file's column by field without the fields that it lacks, and guesses of those.

    Names match exactly, or else case-insensitively.
    """
    by_lower = {name.lower(): name for name in source.columns}
    found: dict[str, str] = {}
    for field in FIELDS:
        wanted = options.columns.get(field, field)
        if wanted in source.columns:
            found[field] = wanted
        elif wanted.lower() in by_lower:
            found[field] = by_lower[wanted.lower()]
    free = _free_columns(source, found)
    guesses = {
        field: next(free[common] for common in names if common in free)
        for field, names in _COMMON_NAMES.items()
        if field not in found and not free.keys().isdisjoint(names)
    }
    return found, guesses


def guess_product(
    source: SourceFile, found: Mapping[str, str], guesses: Mapping[str, str]
) -> tuple[str, str] | None:
    """Return the columns of quantity and unit price, if the file has both and no column of their product."""
    free = _free_columns(source, found)
    price = next((name for word, name in free.items() if word in _UNIT_PRICES), None)
    quantity = next((free[word] for word in _QUANTITIES if word in free), None)
    if quantity is None or price is None or guesses.get("amount") != price:
        return None
    return quantity, price


def _free_columns(source: SourceFile, found: Mapping[str, str]) -> dict[str, str]:
    return {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in unused_columns(source, found)}


def add_amount_column(source: SourceFile, options: ImportOptions) -> tuple[SourceFile, ImportOptions]:
    """Return the file with a column that shows quantity and unit price, mapped to the amount, if options ask for it.

    Raises:
        InvalidOptionError: The file lacks one of the columns, or the amount is mapped to another one.
    """
    if options.amount_from is None:
        return source, options
    if "amount" in options.columns:
        raise InvalidOptionError("--amount-from and --column amount=... are given: give one of them")
    by_lower = {name.lower(): name for name in source.columns}
    missing = [name for name in options.amount_from if name.lower() not in by_lower]
    if missing:
        has = ", ".join(source.columns)
        raise InvalidOptionError(f"--amount-from: {source.path} has no column {missing[0]}; it has: {has}")
    pair = [name if name in source.columns else by_lower[name.lower()] for name in options.amount_from]
    name = "*".join(pair)
    factors = " || '*' || ".join(f"coalesce(CAST({identifier(part)} AS VARCHAR), '')" for part in pair)
    return (
        replace(
            source,
            columns={**source.columns, name: "VARCHAR"},
            relation=f"(SELECT *, {factors} AS {identifier(name)} FROM {source.relation})",
        ),
        replace(options, amount_from=(pair[0], pair[1]), columns={**options.columns, "amount": name}),
    )


def as_return(source: SourceFile, event_type: Expression, quantity: str) -> Expression:
    """Return an event type that is ``return`` instead of ``purchase`` where the quantity is negative."""
    kind = event_type.sql
    returned = f"{kind} = 'purchase' AND {_amount(source, quantity)} < 0"
    return replace(event_type, sql=f"CASE WHEN {returned} THEN 'return' ELSE {kind} END")


def absent_amount(source: SourceFile, columns: Mapping[str, str]) -> Expression:
    """Return no amount, with a note of the option that reads the column that looks like one, if any does."""
    _, guesses = find_columns(source, ImportOptions(columns=columns))
    if "amount" not in guesses:
        return ABSENT["amount"]
    product = guess_product(source, columns, guesses)
    option = (
        f"--amount-from {shlex.quote('*'.join(product))}"
        if product
        else f"--column amount={shlex.quote(guesses['amount'])}"
    )
    return replace(ABSENT["amount"], note=f"{ABSENT['amount'].note}; to read amounts, give {option}")


def unused_columns(source: SourceFile, found: Mapping[str, str]) -> list[str]:
    """Return the columns of no field."""
    return [name for name in source.columns if name not in found.values()]


def resolve_columns(connection: Any, source: SourceFile, options: ImportOptions) -> dict[str, str]:
    """Return the file's column by field, without the fields that it lacks.

    Raises:
        MissingColumnsError: Also if a column that looks like the event type is not mapped.
        InvalidOptionError: All rows are to be purchases, but the file has event types.
    """
    found, guesses = find_columns(source, options)
    if options.purchases_only and "event_type" in found:
        raise InvalidOptionError(f"--purchases-only, but {source.path} has a column {found['event_type']}")
    repeated = {name.lower().rpartition(" (column ")[0] for name in source.columns}
    expected = {*REQUIRED_FIELDS, *options.columns, *repeated}
    types: dict[str, str | None] = {}
    if "event_type" not in found and not options.purchases_only:
        column, types = find_event_types(connection, source, unused_columns(source, found), guesses)
        if column:
            guesses["event_type"] = column
            expected.add("event_type")
    missing = [field for field in FIELDS if field in expected and field not in found]
    if missing:
        product = guess_product(source, found, guesses)
        available = list(source.columns)
        raise MissingColumnsError(source.path, missing, options.columns, available, guesses, types, product)
    return found


def find_event_types(
    connection: Any, source: SourceFile, columns: Sequence[str], fields: Mapping[str, str]
) -> tuple[str | None, dict[str, str | None]]:
    """Return the column of the event types, if any, and our type, if it is known, by its most frequent values."""
    column = fields.get("event_type") or _find_by_values(connection, source, columns)
    return column, _count_types(connection, source, column) if column else {}


def _find_by_values(connection: Any, source: SourceFile, columns: Sequence[str]) -> str | None:
    """Return the first column with few values, one of which commonly names an event type."""
    words = ", ".join(literal(word) for words in _COMMON_TYPES.values() for word in words)
    texts = [name for name in columns if source.columns[name] == "VARCHAR" or "ENUM" in source.columns[name]]
    tests = [
        f"bool_or({_word(name)} IN ({words})) AND approx_count_distinct({identifier(name)}) <= {_MANY_TYPES}"
        for name in texts
    ]
    if not tests:
        return None
    hits = connection.execute(f"SELECT {', '.join(tests)} FROM {source.relation}").fetchone()
    return next((name for name, hit in zip(texts, hits, strict=True) if hit), None)


def _word(column: str) -> str:
    return f"regexp_replace(lower(CAST({identifier(column)} AS VARCHAR)), '[^a-z]', '', 'g')"


def _count_types(connection: Any, source: SourceFile, column: str) -> dict[str, str | None]:
    """Return our type, if it is known, by the most frequent values of a column."""
    rows = connection.execute(
        f"SELECT {cleaned(identifier(column))} AS value, any_value({_word(column)}) FROM {source.relation} "
        f"GROUP BY value HAVING value IS NOT NULL ORDER BY count(*) DESC, value LIMIT {_MANY_TYPES}"
    ).fetchall()
    known = dict.fromkeys(_KEPT_STATUSES, "purchase")
    known |= {word: ours for ours, words in _COMMON_TYPES.items() for word in words}
    return {value: known.get(word) for value, word in rows}


def field_sql(
    connection: Any, source: SourceFile, field: str, column: str, options: ImportOptions
) -> Expression:
    """Return the SQL that reads a field from a column.

    Ids are text: whole numbers in a floating-point column lose their ``.0``, and bytes that are not printable UTF-8
    become ``0x`` and hexadecimal digits. The event type is in lower case, and renamed by the options. The amount is
    ``DOUBLE``: null if missing, infinite if unreadable. The timestamp is ``TIMESTAMPTZ``, null if unreadable. The
    metadata is JSON text.
    """
    match field:
        case "timestamp":
            return timestamp_sql(connection, source, column, options)
        case "amount":
            return Expression(_product(source, options) if options.amount_from else _amount(source, column))
        case "metadata":
            name = identifier(column)
            if source.columns[column] in {"VARCHAR", "JSON"}:
                return Expression(cleaned(name))
            return Expression(f"CAST(to_json({name}) AS VARCHAR)")
        case "event_type":
            value = rf"regexp_replace(lower({_id(source, column).sql}), '^(-?\d+)\.0+$', '\1')"
            renamed = options.event_types.items()
            cases = (f"WHEN {literal(theirs)} THEN {literal(ours)}" for theirs, ours in renamed)
            return Expression(f"CASE {value} {' '.join(cases)} ELSE {value} END" if renamed else value)
    return _id(source, column)


def _id(source: SourceFile, column: str) -> Expression:
    kind, name = source.columns[column], identifier(column)
    if kind in _PLAIN or kind.startswith("ENUM"):
        return Expression(cleaned(name))
    if kind in FLOATS:
        whole = f"isfinite({name}) AND {name} = trunc({name}) AND abs({name}) < 1e18"
        text = f"CASE WHEN {whole} THEN CAST(CAST({name} AS HUGEINT) AS VARCHAR)"
        return Expression(
            f"{text} WHEN NOT isnan({name}) THEN CAST({name} AS VARCHAR) END", whole_note(column)
        )
    if kind.startswith("DECIMAL"):
        whole = f"CASE WHEN {name} = trunc({name}) THEN CAST(CAST({name} AS HUGEINT) AS VARCHAR)"
        return Expression(f"{whole} ELSE rtrim(CAST({name} AS VARCHAR), '0') END", whole_note(column))
    if kind == "BLOB":
        text = f"TRY(decode({name}))"
        printable = f"{text} IS NOT NULL AND NOT regexp_matches({text}, '[\\x00-\\x1f]')"
        return Expression(f"CASE WHEN {printable} THEN {cleaned(text)} ELSE '0x' || lower(hex({name})) END")
    raise UnusableColumnError(source.path, column, kind, "text, numbers, UUIDs or bytes for an id")


def whole_note(column: str) -> str:
    """Return the note on an id column with whole numbers in floating point."""
    return f"{column}: whole numbers with a decimal point are read as integers (17850.0 is 17850)"


def _product(source: SourceFile, options: ImportOptions) -> str:
    quantity, price = (_amount(source, name) for name in options.amount_from or ())
    return f"""
        CASE WHEN isinf({quantity}) OR isinf({price}) THEN 'inf'::DOUBLE
             WHEN {quantity} IS NOT NULL AND {price} IS NOT NULL
             THEN coalesce(TRY(abs({quantity}) * {price}), 'inf'::DOUBLE) END
    """


def _amount(source: SourceFile, column: str) -> str:
    kind, name = source.columns[column], identifier(column)
    if kind == "VARCHAR":
        value = cleaned(name)
        read = f"CASE WHEN {value} IS NOT NULL THEN coalesce({number(value)}, 'inf'::DOUBLE) END"
    elif kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL"):
        read = f"CAST({name} AS DOUBLE)"
    else:
        raise UnusableColumnError(source.path, column, kind, "numbers, or text that holds numbers")
    # pandas writes a missing number as NaN; adding zero turns -0.0 into 0.0
    return f"CASE WHEN NOT isnan({read}) THEN {read} + 0.0 END"
