"""Commands: their options, and the exit status of what is wrong."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import click
from click.testing import CliRunner

from golden.installed import ROOT_COMMAND, clean_environment, scripts
from golden.settings import settings_classes
from golden.text import as_text

_SECONDS = 20
_CONVERTED = {"integer", "float", "choice", "integer range", "float range", "duration", "instant"}
_MISSING = "/nonexistent/golden"


class StillRunningError(Exception):
    """A command that should have refused has started to work."""


def commands() -> str:
    lines, seen = [], {}
    for path, command in _tree():
        options = sorted(_option(each) for each in _parameters(command))
        known = seen.setdefault(tuple(options), " ".join(path))
        lines.append(" ".join(path) + (f": as {known}" if known != " ".join(path) else ""))
        lines += [f"  {option}" for option in options] if known == " ".join(path) else []
    return "\n".join(lines) + "\n"


def exit_statuses() -> str:
    found: dict[str, Any] = {}
    configured = settings_classes()
    for path, command in _tree():
        own: dict[str, Any] = {
            "--help": _status(path, "--help"),
            "--no-such-option": _status(path, "--no-such-option"),
        }
        if any(each.required for each in _parameters(command)):
            own["nothing given"] = _status(path)
        for option in _parameters(command):
            if isinstance(option, click.Option) and option.type.name in _CONVERTED and not option.is_flag:
                status = _status(path, option.opts[0], "nonsense")
                own[f"nonsense, {status}"] = sorted([*own.get(f"nonsense, {status}", []), option.opts[0]])
        if len(path) == 1 and path[0] in configured:
            prefix = configured[path[0]].model_config.get("env_prefix")
            for variable, value in {"LOG_LEVEL": "loud", f"{prefix}NO_SUCH": "1"}.items():
                if variable == "NO_SUCH":
                    continue
                given = [part for o in _parameters(command) if o.required for part in (o.opts[0], _MISSING)]
                own[f"{variable}={value}"] = _status(path, *given, **{variable: value})
        found[" ".join(path)] = own
    found[f"{ROOT_COMMAND} no-such-command"] = _status((ROOT_COMMAND,), "no-such-command")
    return as_text(found) + "\n"


@cache
def _tree() -> list[tuple[tuple[str, ...], click.Command]]:
    """Return every command and subcommand, with the words that call it."""

    def below(
        path: tuple[str, ...], command: click.Command
    ) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                inner = command.get_command(click.Context(command), name)
                assert inner is not None
                yield from below((*path, name), inner)

    return [found for name, script in scripts().items() for found in below((name,), script.load())]


def _parameters(command: click.Command) -> list[click.Parameter]:
    context = click.Context(command)
    return [each for each in command.get_params(context) if each is not command.get_help_option(context)]


def _option(parameter: click.Parameter) -> str:
    kind: Any = parameter.type
    words = ["/".join([*parameter.opts, *parameter.secondary_opts])]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        words.append("flag")
    else:
        words.append(kind.name)
    if isinstance(kind, click.Choice):
        words.append("|".join(map(str, kind.choices)))
    bounds = {key: getattr(kind, key, None) for key in ("min", "max")}
    words += [f"{key}={value}" for key, value in bounds.items() if value is not None]
    words += ["required"] if parameter.required else []
    words += ["multiple"] if parameter.multiple else []
    default = parameter.to_info_dict().get("default")
    words += [f"default={default}"] if default not in (None, False) else []
    words += [f"env={parameter.envvar}"] if parameter.envvar else []
    return " ".join(words)


def _status(path: tuple[str, ...], *arguments: str, **variables: str) -> int:
    with clean_environment(**variables), _limited(f"{path} {arguments} {variables}"):
        result = CliRunner().invoke(scripts()[path[0]].load(), [*path[1:], *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code


@contextmanager
def _limited(doing: str) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise StillRunningError(doing)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
