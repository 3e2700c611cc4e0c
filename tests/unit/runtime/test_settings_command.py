import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from reprise.runtime.exceptions import RepriseError
from reprise.runtime.settings import Duration, ProcessSettings
from reprise.runtime.settings_command import error_messages, settings_command


class ShopSettings(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")

    store: str = Field(description="Model store.")
    horizon: Duration | None = Field(timedelta(days=30), description="Label horizon.")
    folds: int = Field(3, ge=0, le=20, description="Folds.")
    share: float | None = Field(None, gt=0, lt=1, description="Share.")
    mode: Literal["all", "some"] = Field("all", description="Mode.")
    folder: Annotated[Path | None, click.Path(exists=True, path_type=Path)] = Field(
        None, description="Folder."
    )
    publish: bool = Field(True, description="Whether to publish.")
    dry_run: bool = Field(False, description="Write nothing.")
    password: SecretStr | None = Field(None, description="Password.")


PATH = f"{__name__}:ShopSettings"


@settings_command("shop", PATH)
@click.option("--count", default=1, help="Count.")
def shop(settings: ShopSettings, count: int) -> None:
    if settings.folds == 13:
        raise RepriseError("unlucky")
    click.echo(f"{settings!r} {count}")


@settings_command("strict", PATH, options={"--out": "store", "-f/-F": "publish"}, environment=True)
def strict(settings: ShopSettings) -> None:
    click.echo(repr(settings))


@settings_command("group", PATH, group=True)
def group(settings: ShopSettings) -> None:
    click.echo(settings.store)


@group.command("inner")
def inner() -> None:
    click.echo("inner")


def run(command: click.Command, *arguments: str, **variables: str) -> Result:
    return CliRunner(env=variables).invoke(command, arguments)


def test_options_win_over_the_environment_and_that_over_defaults() -> None:
    result = run(shop, "--store", "a", "--count", "2", SHOP_STORE="b", SHOP_FOLDS="4", SHOP_PUBLISH="no")
    assert "store='a'" in result.output
    assert "folds=4" in result.output
    assert "publish=False" in result.output
    assert result.output.endswith(" 2\n")


def test_option_values_have_the_types_of_their_fields(tmp_path: Path) -> None:
    arguments = f"--store a --horizon 1d12h --share 0.5 --folder {tmp_path} --no-publish --dry-run".split()
    shown = run(shop, *arguments).output
    for value in ("days=1, seconds=43200", "share=0.5", f"Path({str(tmp_path)!r})"):
        assert value in shown
    for flag in ("publish=False", "dry_run=True"):
        assert flag in shown


@pytest.mark.parametrize(
    "arguments",
    ["--folds 21", "--share 0", "--mode none", "--horizon soon", "--folder /nowhere", "--password x"],
)
def test_option_outside_its_range_is_a_usage_error(arguments: str) -> None:
    result = run(shop, "--store", "a", *arguments.split())
    assert result.exit_code == 2
    assert arguments.split(maxsplit=1)[0] in result.output


def test_wrong_environment_is_an_error_that_names_the_variable() -> None:
    result = run(shop, SHOP_FOLDS="many", SHOP_STOR="a")
    assert result.exit_code == 1
    for variable in ("SHOP_STORE", "SHOP_FOLDS", "SHOP_STOR:"):
        assert variable in result.output


@pytest.mark.parametrize("variables", [{}, {"SHOP_STORE": "a", "SHOP_PUBLISH": "perhaps"}])
def test_environment_read_by_click_makes_usage_errors(variables: dict[str, str]) -> None:
    assert run(strict, **variables).exit_code == 2
    done = run(strict, "-F", SHOP_STORE="a")
    assert "store='a'" in done.output
    assert "publish=False" in done.output


def test_error_of_ours_is_a_message_and_status_1() -> None:
    result = run(shop, "--store", "a", "--folds", "13")
    assert (result.exit_code, result.output) == (1, "Error: unlucky\n")


def test_help_has_variable_default_and_range() -> None:
    text = " ".join(run(shop, "--help").output.split())
    assert "--folds INTEGER RANGE Folds. [env var: SHOP_FOLDS; default: 3; 0<=x<=20]" in text
    assert "--horizon DURATION Label horizon. [env var: SHOP_HORIZON; default: 30d]" in text
    assert "--publish / --no-publish Whether to publish. [env var: SHOP_PUBLISH; default: yes]" in text
    assert "password" not in text.lower()


def test_subcommand_of_a_group_needs_no_settings() -> None:
    assert run(group, "inner").output == "inner\n"
    assert run(group, "--store", "a").output == "a\n"
    assert run(group).exit_code == 1


def test_listing_a_command_does_not_import_its_settings() -> None:
    script = (
        "import sys; from reprise.status.main import command; command.get_short_help_str();"
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_failed_write_is_reported_with_its_output_and_without_a_traceback() -> None:
    told = pytest.raises(click.ClickException, match=r"out\.csv: No space left on device")
    with told, error_messages(Path("out.csv")):
        raise OSError(28, "No space left on device")
