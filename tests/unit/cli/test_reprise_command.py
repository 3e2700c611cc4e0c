"""The one command for people at a terminal."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from reprise.cli.main import command

COMMANDS = (
    "datagen",
    "inspect",
    "features",
    "train",
    "topics",
    "backfill",
    "produce",
    "materialize",
    "dlq",
    "archive",
    "serve",
    "status",
    "demo",
)


def subcommands() -> list[tuple[str, ...]]:
    """Every command line that has a help text."""
    context = click.Context(command)
    found: list[tuple[str, ...]] = []
    for name in command.list_commands(context):
        part = command.get_command(context, name)
        found.append((name,))
        if isinstance(part, click.Group):
            found += [(name, inner) for inner in part.list_commands(click.Context(part))]
    return found


def options_of(arguments: tuple[str, ...]) -> list[click.Option]:
    part: click.Command | None = command
    for argument in arguments:
        assert isinstance(part, click.Group)
        part = part.get_command(click.Context(part), argument)
    return [
        parameter for parameter in part.get_params(click.Context(part)) if isinstance(parameter, click.Option)
    ]


def test_help_lists_the_parts_in_the_order_of_their_use() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    listing = result.output[result.output.index("Commands:") :]
    places = [listing.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("arguments", subcommands(), ids=" ".join)
def test_every_option_is_explained(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(command, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    unexplained = [option.opts[0] for option in options_of(arguments) if not option.help]
    assert unexplained == []


def test_an_unknown_part_is_a_usage_error() -> None:
    result = CliRunner().invoke(command, ["predict"])
    assert result.exit_code == 2
    assert "No such command 'predict'" in result.output


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'pandas', 'featuretools', 'sklearn', 'duckdb', 'pyarrow', 'onnxruntime', 'fastapi', 'numpy'}"
    script = (
        "import sys; from click.testing import CliRunner; from reprise.cli.main import command;"
        f"CliRunner().invoke(command, ['--help']); print(sorted({heavy} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
