"""The one command for people at a terminal."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from reprise.cli.main import command


def parts(command: click.Command, *path: str) -> Iterator[tuple[click.Command, str]]:
    """Every command, with the words that call it."""
    yield command, " ".join(path) or "reprise"
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from parts(command.get_command(context, name), *path, name)


@pytest.mark.parametrize("part", [pytest.param(part, id=name) for part, name in parts(command)])
def test_every_option_is_explained(part: click.Command) -> None:
    options = [each for each in part.get_params(click.Context(part)) if isinstance(each, click.Option)]
    assert [option.opts[0] for option in options if not option.help] == []


def test_help_loads_nothing_heavy() -> None:
    heavy = "pandas featuretools sklearn duckdb pyarrow onnx onnxruntime fastapi numpy matplotlib"
    script = (
        "import sys; from click.testing import CliRunner; from reprise.cli.main import command;"
        f"CliRunner().invoke(command, ['--help']); print(sorted(set({heavy!r}.split()) & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
