from datetime import timedelta

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from reprise.runtime.durations import DURATION, format_duration, parse_duration
from reprise.runtime.exceptions import InvalidDurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", timedelta(days=30)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("1.5h", timedelta(minutes=90)),
        ("2W", timedelta(weeks=2)),
        ("1m5ms", timedelta(minutes=1, milliseconds=5)),
    ],
)
def test_duration_is_read_as_written(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "3x", "1d 12h", "1d1d", "99999999999w", "nan d"])
def test_text_that_is_no_duration_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(InvalidDurationError, match="duration"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=4000)))
def test_formatted_duration_reads_back_as_itself(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_negative_duration_has_no_text() -> None:
    with pytest.raises(InvalidDurationError):
        format_duration(timedelta(seconds=-1))


def test_option_takes_a_duration_and_says_what_it_expected() -> None:
    @click.command()
    @click.option("--horizon", type=DURATION, default="30d")
    def command(horizon: timedelta) -> None:
        click.echo(horizon.total_seconds())

    assert CliRunner().invoke(command, ["--horizon", "1d12h"]).output == "129600.0\n"
    assert CliRunner().invoke(command).output == "2592000.0\n"
    refused = CliRunner().invoke(command, ["--horizon", "soon"])
    assert refused.exit_code == 2
    assert "'soon' is no duration" in refused.output
