"""What DuckDB and Spark SQL write differently in the statements of the plan.

Everything else in them is SQL that both understand and compute alike. So numbers with a fraction are written by
``feature_functions.double``: Spark would take them for decimals, and divide with fewer digits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reprise import sql
from reprise.features.latest_products import SQL_ENTRY

PARTITIONS = {"user": "user_id", "product": "product_id", "pair": "user_id, product_id"}
"""The keys of each entity."""

ROW_ORDER = "ts, event_key, row_id"
"""The order of all rows; at one instant, those without an event come last."""


@dataclass(frozen=True)
class SqlDialect:
    """How one engine writes what the other writes differently: SQL, and functions from SQL to SQL.

    Rows have the columns of ``batch_sql.lifted_select``. ``position`` orders all of them.
    """

    types: Mapping[str, str]  # the type of a state's field by its kind
    peers: Mapping[str, str]  # a further column that ``past`` needs, by entity
    position: str  # the value that orders all rows; on DuckDB of a table whose rows are in ``ROW_ORDER``
    event_position: str  # the value that orders all events
    first_of_each_id: Callable[[str], str]  # rows without those whose event id an earlier one has
    event_key: Callable[[str], str]  # ``reprise.events.event_key`` of an expression
    hash: Callable[[str], str]  # a hash of several columns, the engine's own
    microseconds: Callable[[str], str]  # an instant as BIGINT microseconds
    rounded: Callable[[str], str]  # a DOUBLE as the nearest BIGINT, the even one of two
    each_between: Callable[[str, str], str]  # a row for each whole number from a start until before an end
    record: Callable[[Mapping[str, str]], str]  # a struct
    # of an end, ``first`` or ``last``, and a value: the value of that row among those that have it
    end_of_group: Callable[[str, str], str]  # for ``GROUP BY``
    end_of_window: Callable[[str, str], str]  # for windows
    # of an entity: the order and frame of a window over the rows strictly before the row's own instant
    past: Callable[[str], str]
    # of a frame, a limit and a condition: the packed list of the latest entries, null or empty without one
    packed_list: Callable[[str, int, str], str]


def _duckdb_list(frame: str, limit: int, condition: str) -> str:
    entry = SQL_ENTRY.format(frame=frame, bytes="strlen(product_id)")
    return f"unhex(array_to_string(max({entry}, {limit}) FILTER (WHERE {condition}), ''))"


# DuckDB counts back over the rows of the same instant. This equals Spark's ``RANGE``, for which DuckDB searches once
# per row and aggregate: most of the work where an entity has many rows.
DUCKDB = SqlDialect(
    types={"int64": "BIGINT", "double": "DOUBLE", "bytes": "BLOB"},
    peers={
        entity: f"row_number() OVER (PARTITION BY {keys}, ts ORDER BY position) AS {entity}_peer"
        for entity, keys in PARTITIONS.items()
    },
    position="rowid",  # DuckDB keeps the order in which rows are inserted
    event_position=f"ts::HUGEINT * {2**60} + event_key",  # keys have 60 bits
    first_of_each_id=sql.first_of_each_id,
    event_key=sql.event_key,
    hash=lambda columns: f"hash({columns})",
    microseconds=lambda timestamp: f"epoch_us({timestamp})",
    rounded=lambda number: f"({number})::BIGINT",
    each_between=lambda start, end: f"unnest(range({start}, {end}))",
    record=lambda fields: f"struct_pack({', '.join(f'{name} := {value}' for name, value in fields.items())})",
    end_of_group=lambda end, value: f"{'arg_min' if end == 'first' else 'arg_max'}({value}, position)",
    end_of_window=lambda end, value: f"{end}_value({value} IGNORE NULLS)",
    past=lambda entity: f"ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND {entity}_peer PRECEDING",
    packed_list=_duckdb_list,
)


def _spark_first_of_each_id(rows: str) -> str:
    copies = "row_number() OVER (PARTITION BY event_id ORDER BY file_row_number) AS copy_number"
    return f"(SELECT * FROM (SELECT *, {copies} FROM {rows}) WHERE event_id IS NULL OR copy_number = 1)"


def _spark_end(end: str, value: str) -> str:
    extreme = "min_by" if end == "first" else "max_by"
    return f"{extreme}({value}, CASE WHEN {value} IS NOT NULL THEN position END)"


def _spark_list(frame: str, limit: int, condition: str) -> str:
    entry = SQL_ENTRY.format(frame=frame, bytes="octet_length(product_id)")
    entries = f"sort_array(collect_list({entry}) FILTER (WHERE {condition}), false)"
    return f"unhex(array_join(slice({entries}, 1, {limit}), ''))"


# Spark has no frame bounds that depend on the row, and no number of all rows that several tasks could count. So the
# past is a range of instants, in which the rows of one instant have no order. The first and last row are those with
# the smallest and largest position.
SPARK = SqlDialect(
    types={"int64": "BIGINT", "double": "DOUBLE", "bytes": "BINARY"},
    peers={},
    position=f"struct(ts, coalesce(event_key, {2**62}), row_id)",
    event_position="struct(ts, event_key)",
    first_of_each_id=_spark_first_of_each_id,
    event_key=lambda text: f"conv({sql.event_digits(text)}, 16, 10)::BIGINT",
    hash=lambda columns: f"xxhash64({columns})",
    microseconds=lambda timestamp: f"unix_micros({timestamp})",
    rounded=lambda number: f"rint({number})::BIGINT",
    each_between=lambda start, end: (
        f"explode(CASE WHEN {start} < {end} THEN sequence({start}, {end} - 1) ELSE array() END)"
    ),
    record=lambda fields: (
        f"named_struct({', '.join(f'{sql.literal(name)}, {value}' for name, value in fields.items())})"
    ),
    end_of_group=_spark_end,
    end_of_window=_spark_end,
    past=lambda _: "ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
    packed_list=_spark_list,
)
