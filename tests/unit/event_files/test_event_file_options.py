import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

from reprise.event_files import ImportOptions, InvalidOptionError
from reprise.event_files.options import event_file_options, parse_columns, parse_event_types


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
    )
    assert seen == [
        ImportOptions(
            columns={"user_id": "customer", "timestamp": "when=utc"},
            event_types={"buy": "purchase", "order": "purchase"},
            timestamp_format="%d.%m.%Y",
            timestamp_unit="ms",
            on_bad_rows="drop",
        )
    ]


def test_defaults_understand_a_canonical_file() -> None:
    seen, _ = run()
    assert seen == [ImportOptions()]


@pytest.mark.parametrize("pair", ["customer", "buyer=customer", "user_id=", "=x"])
def test_mapping_that_makes_no_sense_is_a_usage_error(pair: str) -> None:
    seen, result = run("--column", pair)
    assert result.exit_code == 2
    assert f"--column {pair}: " in result.output
    assert seen == []


def test_field_mapped_twice_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="--column user_id=b: "):
        parse_columns(["user_id=a", "user_id=b"])


def test_value_mapped_to_two_types_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="--event-type view=BUY: "):
        parse_event_types(["purchase=buy", "view=BUY"])


@pytest.mark.parametrize("pair", ["purchase", "Purchase=buy", "purchase= "])
def test_event_type_mapping_that_makes_no_sense_is_refused(pair: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"--event-type {pair}: "):
        parse_event_types([pair])


def test_help_of_a_command_does_not_load_duckdb() -> None:
    code = (
        "import sys, reprise.event_files.options; sys.exit(bool({'duckdb', 'pyarrow'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
