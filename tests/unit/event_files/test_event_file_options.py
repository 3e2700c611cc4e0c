import datetime
import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

from reprise.event_files.options import ImportOptions, event_file_options


def run(*arguments: str) -> tuple[list[ImportOptions], Any]:
    seen: list[ImportOptions] = []

    @click.command()
    @click.option("--other", default=1)
    @event_file_options
    def command(other: int, import_options: ImportOptions) -> None:
        seen.append(import_options)

    return seen, CliRunner().invoke(command, list(arguments))


def test_options_arrive_as_one_value() -> None:
    seen, _ = run(
        *("--column", "user_id=customer", "--column", "timestamp=when=utc"),
        *("--event-type", "purchase=Buy", "--event-type", "purchase=order", "--on-bad-rows", "drop"),
        *("--timestamp-format", "%d.%m.%Y", "--timestamp-unit", "ms"),
        *("--timestamp-origin", "2020-02-01", "--encoding", "latin-1", "--header-names", "a,b"),
    )
    assert seen == [
        ImportOptions(
            columns={"user_id": "customer", "timestamp": "when=utc"},
            event_types={"buy": "purchase", "order": "purchase"},
            timestamp_format="%d.%m.%Y",
            timestamp_unit="ms",
            timestamp_origin=datetime.datetime(2020, 2, 1),
            encoding="latin-1",
            header_names=("a", "b"),
            on_bad_rows="drop",
        )
    ]


def test_defaults_understand_a_canonical_file() -> None:
    seen, _ = run()
    assert seen == [ImportOptions()]


@pytest.mark.parametrize(
    ("option", "pairs"),
    [
        ("--column", ["customer"]),
        ("--column", ["buyer=customer"]),
        ("--column", ["user_id="]),
        ("--column", ["=x"]),
        ("--column", ["user_id=a", "user_id=b"]),
        ("--event-type", ["purchase"]),
        ("--event-type", ["Purchase=buy"]),
        ("--event-type", ["purchase= "]),
        ("--event-type", ["purchase=buy", "view=BUY"]),
    ],
)
def test_mapping_that_makes_no_sense_is_a_usage_error(option: str, pairs: list[str]) -> None:
    seen, result = run(*(word for pair in pairs for word in (option, pair)))
    assert result.exit_code == 2
    assert f"{option} {pairs[-1]}: " in result.output
    assert seen == []


def test_help_of_a_command_does_not_load_duckdb() -> None:
    code = (
        "import sys, reprise.event_files.options; sys.exit(bool({'duckdb', 'pyarrow'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
