"""Commands whose options come from the fields of a settings class."""

import functools
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast, get_args, get_origin

import click

from reprise.runtime.durations import DURATION, format_duration
from reprise.runtime.exceptions import RepriseError

if TYPE_CHECKING:
    from click.types import OptionHelpExtra
    from pydantic.fields import FieldInfo

    from reprise.runtime.settings import ProcessSettings

EXECUTOR_OPTIONS = {
    f"--{name.replace('_', '-')}": name
    for name in ("executor", "duckdb_max_events", "spark_master", "spark_files")
}
"""Field of each option of ``ExecutorSettings``."""

_METAVARS = {"_seconds": "SECONDS", "_url": "URL", "_store": "URL"}
_TYPES: dict[Any, click.ParamType[Any]] = {bool: click.BOOL, timedelta: DURATION}


@contextmanager
def error_messages(out: Path | None = None) -> Iterator[None]:
    """End the command with exit status 1 and the message, without a traceback, on a :class:`RepriseError`.

    With an output, also on an ``OSError``, such as a full disk, which is taken as the output's.
    """
    try:
        yield
    except RepriseError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        if out is None or isinstance(error, BrokenPipeError):
            raise
        raise click.ClickException(f"{out}: {error.strerror or error}") from error


class SettingsCommand(click.Command):
    """A command that has the options of its settings class before its own; see :func:`settings_command`."""

    def __init__(
        self,
        *args: Any,
        settings: str,
        options: Mapping[str, str] | None,
        inherited: Sequence[str],
        environment: bool,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self._path = settings
        self._names = options
        self._inherited = inherited
        self._environment = environment

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the settings' options, then those of the command itself."""
        return [*self.options, *super().get_params(ctx)]

    @functools.cached_property
    def settings(self) -> "type[ProcessSettings]":
        """The settings class."""
        settings: type[ProcessSettings] = pkgutil.resolve_name(self._path)
        return settings

    @functools.cached_property
    def options(self) -> list[click.Option]:
        """One option for each field, named by the field."""
        fields, variables = self.settings.model_fields, self.settings.env_names()
        names = self._names or {
            f"--{name.replace('_', '-')}": name
            for name in [*self.settings.__annotations__, *self._inherited]
            if name in fields and "Secret" not in str(fields[name].annotation)
        }
        return [
            _SettingsOption(option, name, fields[name], variables[name], self._environment)
            for option, name in names.items()
        ]


class SettingsGroup(SettingsCommand, click.Group):
    """A group whose own command, run without a subcommand, has the options of its settings class."""


def settings_command(
    name: str,
    settings: str,
    *,
    options: Mapping[str, str] | None = None,
    inherited: Sequence[str] = (),
    environment: bool = False,
    logs: bool = False,
    group: bool = False,
    **attributes: Any,
) -> Callable[[Callable[..., object]], Any]:
    """Make a click command of a function whose first parameter, ``settings``, is the process's settings.

    Each option takes its help, type, range, choices and default from the field. An option that is not given leaves
    the field to the environment. An error of ours ends the command with its message and exit status 1, invalid
    settings included; an option outside its range or choices is a usage error, exit status 2.

    Args:
        name: Name of the command.
        settings: Module and name of the settings class. It is imported when the options are needed, so that listing
            commands does not import pydantic.
        options: Field of each option; by default every field that the class itself declares, unless it is secret.
            ``"--on/--off"`` names both sides of a flag.
        inherited: Fields of its base classes that have options too, where ``options`` are not given.
        environment: Whether click reads the environment variables of the options too. A missing or invalid one is
            then a usage error, exit status 2.
        logs: Whether to configure logging by the settings before the function is called.
        group: Whether the command is a group, whose function runs when no subcommand is given.
        attributes: More arguments of the click command.
    """
    if group:
        attributes |= {"invoke_without_command": True}

    def decorate(function: Callable[..., object]) -> SettingsCommand:
        @functools.wraps(function)
        def callback(**parameters: Any) -> object:
            context = click.get_current_context()
            command = cast(SettingsCommand, context.command)
            if context.invoked_subcommand is not None:
                return None
            given = {option.name: parameters.pop(option.name) for option in command.options}
            with error_messages():
                loaded = command.settings.load(**given)
                if logs:
                    from reprise.runtime.logs import configure_logging

                    configure_logging(loaded.log_level, loaded.log_json)
                return function(settings=loaded, **parameters)

        kind = SettingsGroup if group else SettingsCommand
        own = {"settings": settings, "options": options, "inherited": inherited, "environment": environment}
        return click.command(name, cls=kind, **own, **attributes)(callback)

    return decorate


class _SettingsOption(click.Option):
    def __init__(self, option: str, name: str, field: "FieldInfo", variable: str, environment: bool) -> None:
        self._variable = variable
        self._field_default = field.get_default()
        kind = option_type(name, field)
        attributes: dict[str, Any] = {"type": kind}
        if kind is click.BOOL:
            attributes = {"is_flag": True, "default": None}
            if self._field_default and "/" not in option:
                option = f"{option}/--no-{option.removeprefix('--')}"
        elif kind is click.STRING or isinstance(kind, click.FloatRange):
            attributes["metavar"] = next((m for end, m in _METAVARS.items() if name.endswith(end)), None)
        if environment:
            attributes |= {"envvar": variable, "required": field.is_required()}
            if not field.is_required():
                attributes["default"] = self._scalar_default()
        super().__init__([option, name], help=field.description, **attributes)

    def get_help_extra(self, ctx: click.Context) -> "OptionHelpExtra":
        """Return what follows the description: environment variable, default of the field, range."""
        extra = super().get_help_extra(ctx)
        extra["envvars"] = (self._variable,)
        default = self._scalar_default()
        if default not in (None, ""):
            extra["default"] = (
                {True: "yes", False: "no"}[default] if isinstance(default, bool) else str(default)
            )
        return extra

    def _scalar_default(self) -> str | int | float | Path | None:
        default = self._field_default
        if isinstance(default, timedelta):
            return format_duration(default)
        if isinstance(default, tuple) and all(isinstance(each, timedelta) for each in default):
            return ",".join(map(format_duration, default))
        return default if isinstance(default, str | int | float | Path) else None


def option_type(name: str, field: "FieldInfo") -> click.ParamType[Any]:
    """Return the click type of a field: a click type in its ``Annotated``, else by its type and bounds.

    Bounds become the range of a number. A path is a directory if the field's name ends in ``_dir``, and a file if its
    default has an extension. A type that click lacks is text, which the settings class validates.
    """
    annotation, metadata = _unwrap(field.annotation, list(field.metadata))
    for marker in metadata:
        if isinstance(marker, click.ParamType):
            return marker
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if annotation is Path:
        is_file = bool(getattr(field.default, "suffix", ""))
        return click.Path(path_type=Path, dir_okay=not is_file, file_okay=not name.endswith("_dir"))
    if annotation not in (int, float):
        return _TYPES.get(annotation, click.STRING)
    ends = ("ge", "gt", "le", "lt")
    bounds = {end: getattr(item, end) for item in metadata for end in ends if hasattr(item, end)}
    if not bounds:
        return click.INT if annotation is int else click.FLOAT
    if annotation is int and "lt" in bounds:
        bounds["le"] = bounds.pop("lt") - 1
    return (click.IntRange if annotation is int else click.FloatRange)(
        min=bounds.get("ge", bounds.get("gt")),
        max=bounds.get("le", bounds.get("lt")),
        min_open="gt" in bounds,
        max_open="lt" in bounds,
    )


def _unwrap(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """Return the type inside ``Annotated`` and ``| None``, and the metadata on the way to it."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _unwrap(inner, [*metadata, *more])
    if get_origin(annotation) in (Union, UnionType):
        inner_types = [part for part in get_args(annotation) if part is not NoneType]
        if len(inner_types) == 1:
            return _unwrap(inner_types[0], metadata)
    return annotation, metadata
