from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.event_files.schema import EVENT_SCHEMA
from reprise.trainer.data.fingerprint import events_sha256

ROWS: list[dict[str, Any]] = [
    {
        "event_id": f"e{number}",
        "user_id": "ü" * (number % 3),
        "product_id": "p",
        "event_type": "purchase" if number % 2 else "view",
        "amount": 1.5 * number if number % 2 else None,
        "timestamp": datetime(2026, 1, 1, 0, number, tzinfo=UTC),
        "metadata": None if number % 5 else "{}",
    }
    for number in range(50)
]


def sha256(path: Path, rows: list[dict[str, Any]], **options: Any) -> str:
    pq.write_table(pa.Table.from_pylist(rows, schema=EVENT_SCHEMA), path, **options)
    return events_sha256(path)


def test_hash_depends_on_the_events_not_on_the_file(tmp_path: Path) -> None:
    hashes = {
        sha256(tmp_path / "a.parquet", ROWS),
        sha256(tmp_path / "b.parquet", ROWS, row_group_size=7, compression="zstd"),
        sha256(tmp_path / "c.parquet", ROWS, use_dictionary=False, row_group_size=1),
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "other"), ("user_id", "u"), ("product_id", "q"), ("event_type", "cart"), ("amount", 0.0),
        ("timestamp", datetime(2026, 1, 1, 0, 10, 0, 1, tzinfo=UTC)), ("metadata", None), ("metadata", ""),
    ],
)  # fmt: skip
def test_hash_sees_every_change(tmp_path: Path, field: str, value: object) -> None:
    changed = [dict(row) for row in ROWS]
    assert changed[10][field] != value
    changed[10][field] = value
    assert sha256(tmp_path / "a.parquet", ROWS) != sha256(tmp_path / "b.parquet", changed)


def test_hash_sees_text_that_moves_between_rows(tmp_path: Path) -> None:
    first, second = [dict(row) for row in ROWS], [dict(row) for row in ROWS]
    first[0]["product_id"], first[1]["product_id"] = "ab", "c"
    second[0]["product_id"], second[1]["product_id"] = "a", "bc"
    assert sha256(tmp_path / "a.parquet", first) != sha256(tmp_path / "b.parquet", second)
