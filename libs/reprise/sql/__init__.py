"""DuckDB connections, and the few SQL expressions that several packages use."""

from pathlib import Path
from typing import Any

MEMORY_LIMIT = "3GiB"
"""Default of DuckDB's memory before it spills to disk."""


# the same as in ``reprise.events``
_ERASED_ID = "^reprise-erased-([0-9a-f]{15})-"


def connect(
    file: Path | None = None, *, memory_limit: str | None = None, temp_directory: Path | None = None
) -> Any:
    """Return a connection to a new database, in UTC and without a progress bar; in memory without a ``file``.

    ``memory_limit`` is what DuckDB may use before it spills to disk, such as ``4GiB``; 80 % of all memory if absent.
    ``temp_directory`` is where it spills to; it is created when needed.

    Raises:
        duckdb.Error: The memory limit is not a size.
    """
    import duckdb  # noqa: PLC0415 - slow to load, and commands need only the default above for their help

    connection = duckdb.connect(file or ":memory:")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    for name, value in (("memory_limit", memory_limit), ("temp_directory", temp_directory)):
        if value is not None:
            connection.execute(f"SET {name} = {literal(value)}")
    return connection


def literal(value: object) -> str:
    """Return an SQL string literal of a text or path."""
    return "'" + str(value).replace("'", "''") + "'"


def numbered_rows(path: Path) -> str:
    """Return SQL of the rows of a Parquet file, with their ``file_row_number``."""
    return f"read_parquet({literal(path)}, file_row_number = true)"


def first_of_each_id(rows: str) -> str:
    """Return SQL of ``rows`` without those whose event id an earlier one has; rows without an id are kept.

    ``rows`` is a table, or a query in parentheses, with a ``file_row_number`` that is unique.
    """
    # Only repeated ids are ordered; a window over all rows takes five times as long.
    repeated = f"SELECT event_id FROM {rows} GROUP BY event_id HAVING count(*) > 1"
    later = (
        f"SELECT file_row_number FROM {rows} SEMI JOIN ({repeated}) USING (event_id)"
        " QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY file_row_number) > 1"
    )
    return f"(SELECT * FROM {rows} WHERE file_row_number NOT IN ({later}))"


def identifier(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def event_key(text: str = "event_id") -> str:
    """Return SQL of ``reprise.events.event_key`` of an expression: 60 bits, as BIGINT."""
    return f"('0x' || {event_digits(text)})::BIGINT"


def event_digits(text: str) -> str:
    """Return SQL of the hexadecimal digits of ``event_key``."""
    return f"coalesce(nullif(regexp_extract({text}, '{_ERASED_ID}', 1), ''), left(md5({text}), 15))"


def copy_to_parquet(connection: Any, query: str, path: Path) -> int:
    """Write a query's rows to a Parquet file whose schema does not depend on the rows; return their number."""
    # Otherwise DuckDB marks a column without nulls as required.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    copy = f"COPY ({query}) TO {literal(path)} (FORMAT parquet, COMPRESSION zstd)"
    return int(connection.execute(copy).fetchone()[0])


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; DuckDB's others quote the statement."""
    return str(error).strip().split("\n", 1)[0]
