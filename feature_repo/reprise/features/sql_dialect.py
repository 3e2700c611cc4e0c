"""What DuckDB and Spark SQL write differently in the statements of the plan.

Everything else in them is SQL that both understand and compute alike. So numbers with a fraction are written by
``feature_functions.double``: Spark would take them for decimals, and divide with fewer digits.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from reprise import sql
from reprise.features.latest_products import SQL_ENTRY

PARTITIONS = {"user": "user_id", "product": "product_id", "pair": "user_id, product_id"}
"""The keys of each entity."""


class SqlDialect(ABC):
    """How one engine writes what the other writes differently.

    Rows have the columns of ``batch_sql.lifted_select``. ``position`` orders all of them.
    """

    types: ClassVar[Mapping[str, str]] = {"int64": "BIGINT", "double": "DOUBLE", "bytes": "BLOB"}
    """The type of a state's field by its kind."""
    peers: tuple[str, ...] = ()
    """Further columns that ``past`` needs."""
    position: str
    """The value that orders all rows."""

    event_position: str
    """The value that orders all events."""

    @abstractmethod
    def first_of_each_id(self, rows: str) -> str:
        """Return ``rows`` without those whose event id an earlier one has; see ``sql.first_of_each_id``."""

    @abstractmethod
    def event_key(self, text: str = "event_id") -> str:
        """Return ``reprise.events.event_key`` of an expression."""

    @abstractmethod
    def hash(self, columns: str) -> str:
        """Return a hash of several columns, the engine's own."""

    @abstractmethod
    def microseconds(self, timestamp: str) -> str:
        """Return an instant as BIGINT microseconds."""

    @abstractmethod
    def rounded(self, number: str) -> str:
        """Return a DOUBLE as the nearest BIGINT, the even one of two."""

    @abstractmethod
    def each_between(self, start: str, end: str) -> str:
        """Return the set of the whole numbers from ``start`` until before ``end``, a row for each."""

    @abstractmethod
    def record(self, **fields: str) -> str:
        """Return a struct."""

    @abstractmethod
    def end_of_group(self, end: str, value: str) -> str:
        """Return the value of the ``first`` or ``last`` row that has it, for ``GROUP BY``."""

    @abstractmethod
    def end_of_window(self, end: str, value: str) -> str:
        """Return the same for windows."""

    @abstractmethod
    def past(self, entity: str) -> str:
        """Return the order and frame of a window over the rows strictly before the own row's instant."""

    @abstractmethod
    def packed_list(self, frame: str, limit: int, condition: str) -> str:
        """Return the packed list of the ``limit`` latest entries of a frame, null or empty without one."""


class _DuckDb(SqlDialect):
    """DuckDB counts back over the rows of the same instant.

    This equals Spark's ``RANGE``, for which DuckDB searches once per row and aggregate: most of the work where an
    entity has many rows.
    """

    peers = tuple(
        f"row_number() OVER (PARTITION BY {keys}, ts ORDER BY position) AS {entity}_peer"
        for entity, keys in PARTITIONS.items()
    )
    position = "row_number() OVER (ORDER BY ts, event_key, row_id)"
    event_position = f"ts::HUGEINT * {2**60} + event_key"  # keys have 60 bits

    def first_of_each_id(self, rows: str) -> str:
        return sql.first_of_each_id(rows)

    def event_key(self, text: str = "event_id") -> str:
        return sql.event_key(text)

    def hash(self, columns: str) -> str:
        return f"hash({columns})"

    def microseconds(self, timestamp: str) -> str:
        return f"epoch_us({timestamp})"

    def rounded(self, number: str) -> str:
        return f"({number})::BIGINT"

    def each_between(self, start: str, end: str) -> str:
        return f"unnest(range({start}, {end}))"

    def record(self, **fields: str) -> str:
        return f"struct_pack({', '.join(f'{name} := {value}' for name, value in fields.items())})"

    def end_of_group(self, end: str, value: str) -> str:
        return f"{'arg_min' if end == 'first' else 'arg_max'}({value}, position)"

    def end_of_window(self, end: str, value: str) -> str:
        return f"{end}_value({value} IGNORE NULLS)"

    def past(self, entity: str) -> str:
        return f"ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND {entity}_peer PRECEDING"

    def packed_list(self, frame: str, limit: int, condition: str) -> str:
        entry = SQL_ENTRY.format(frame=frame, bytes="strlen(product_id)")
        return f"unhex(array_to_string(max({entry}, {limit}) FILTER (WHERE {condition}), ''))"


class _Spark(SqlDialect):
    """Spark has no frame bounds that depend on the row, and no number of all rows that several tasks could count.

    So the past is a range of instants, in which the rows of one instant have no order. The first and last row are those
    with the smallest and largest position.
    """

    types: ClassVar[Mapping[str, str]] = {"int64": "BIGINT", "double": "DOUBLE", "bytes": "BINARY"}
    position = f"struct(ts, coalesce(event_key, {2**62}), row_id)"
    event_position = "struct(ts, event_key)"

    def first_of_each_id(self, rows: str) -> str:
        copies = "row_number() OVER (PARTITION BY event_id ORDER BY file_row_number) AS copy_number"
        return f"(SELECT * FROM (SELECT *, {copies} FROM {rows}) WHERE event_id IS NULL OR copy_number = 1)"

    def event_key(self, text: str = "event_id") -> str:
        return f"conv({sql.event_digits(text)}, 16, 10)::BIGINT"

    def hash(self, columns: str) -> str:
        return f"xxhash64({columns})"

    def microseconds(self, timestamp: str) -> str:
        return f"unix_micros({timestamp})"

    def rounded(self, number: str) -> str:
        return f"rint({number})::BIGINT"

    def each_between(self, start: str, end: str) -> str:
        return f"explode(CASE WHEN {start} < {end} THEN sequence({start}, {end} - 1) ELSE array() END)"

    def record(self, **fields: str) -> str:
        return f"named_struct({', '.join(f'{sql.literal(name)}, {value}' for name, value in fields.items())})"

    def end_of_group(self, end: str, value: str) -> str:
        extreme = "min_by" if end == "first" else "max_by"
        return f"{extreme}({value}, CASE WHEN {value} IS NOT NULL THEN position END)"

    end_of_window = end_of_group

    def past(self, entity: str) -> str:  # noqa: ARG002 - the frame is the same for every entity
        return "ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"

    def packed_list(self, frame: str, limit: int, condition: str) -> str:
        entry = SQL_ENTRY.format(frame=frame, bytes="octet_length(product_id)")
        entries = f"sort_array(collect_list({entry}) FILTER (WHERE {condition}), false)"
        return f"unhex(array_join(slice({entries}, 1, {limit}), ''))"


DUCKDB: SqlDialect = _DuckDb()
SPARK: SqlDialect = _Spark()
