"""SQL expressions that several packages use."""

import duckdb

from reprise.sql import first_of_each_id


def test_the_first_row_of_each_event_id_is_kept_in_the_order_of_the_file_and_rows_without_an_id() -> None:
    values = "(4, 'a'), (1, 'b'), (2, 'a'), (3, NULL), (0, 'c'), (6, 'a'), (7, NULL), (5, 'b')"
    rows = f"(SELECT * FROM (VALUES {values}) AS given(file_row_number, event_id))"
    found = duckdb.sql(
        f"SELECT event_id, file_row_number FROM {first_of_each_id(rows)} ORDER BY file_row_number"
    )
    assert found.fetchall() == [("c", 0), ("b", 1), ("a", 2), (None, 3), (None, 7)]
