"""The ``dlq`` command."""

from functools import partial
from typing import IO, TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.dlq.dead_letters import DeadLetter
    from reprise.dlq.settings import DlqSettings

_command = partial(
    settings_command,
    settings="reprise.dlq.settings:DlqSettings",
    options={
        "--servers": "kafka_servers",
        "--log-dir": "log_dir",
        "--group": "group",
        "--timeout": "timeout_seconds",
    },
)
_REASON = click.option("--reason", metavar="TEXT", help="Only letters whose reason contains this text.")


@click.group("dlq")
def command() -> None:
    """List, inspect, correct and replay dead letters: records that the materializer could not fold.

    A letter is named by its partition and offset in the dead-letter topic, such as 0:12.
    """


@_command("list")
@_REASON
@click.option("--all", "everything", is_flag=True, help="Also letters that were replayed.")
def list_command(settings: "DlqSettings", reason: str | None, everything: bool) -> None:
    """List the dead letters: name, arrival, position of the record, reason."""
    from reprise.dlq.dead_letters import select
    from reprise.events import format_timestamp

    letters = _read(settings)
    shown = [each for each in select(letters, [], reason) if everything or each.replayed_as is None]
    for each in shown:
        source = each.source
        replayed = "" if each.replayed_as is None else " (replayed)"
        click.echo(
            f"{each.name}  {format_timestamp(source.timestamp_ms * 1000)}"
            f"  {source.topic} {source.partition}:{source.offset}  {each.reason}{replayed}"
        )
    replayed_letters = sum(each.replayed_as is not None for each in letters)
    click.echo(f"{len(shown)} of {len(letters)} dead letters; {replayed_letters} were replayed", err=True)


@_command("show")
@click.argument("letter")
def show_command(settings: "DlqSettings", letter: str) -> None:
    """Show a dead LETTER with its record."""
    from reprise.dlq.dead_letters import select
    from reprise.events import format_timestamp

    (found,) = select(_read(settings), [letter], None)
    source, replayed = found.source, found.replayed_as
    click.echo(f"reason     {found.reason}")
    click.echo(f"topic      {source.topic}")
    click.echo(f"partition  {source.partition}")
    click.echo(f"offset     {source.offset}")
    click.echo(f"arrival    {format_timestamp(source.timestamp_ms * 1000)}")
    click.echo(f"key        {_printable(found.key)}")
    click.echo(f"replayed   {'no' if replayed is None else f'as {replayed.partition}:{replayed.offset}'}")
    click.echo(f"record     {_printable(found.value)}")
    if len(found.value) < found.size:
        click.echo(f"           the first {len(found.value):,} of {found.size:,} bytes")


@_command("replay")
@click.argument("names", nargs=-1, metavar="[LETTER]...")
@click.option("--all", "everything", is_flag=True, help="All letters that were not replayed.")
@_REASON
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="New value of a field; may be repeated."
)
@click.option(
    "--file", type=click.File("rb"), help="Event that replaces the record of the one letter, as JSON."
)
@click.option("--dry-run", is_flag=True, help="Only print the events that would be appended.")
def replay_command(
    settings: "DlqSettings",
    names: tuple[str, ...],
    everything: bool,
    reason: str | None,
    changes: tuple[str, ...],
    file: IO[bytes] | None,
    dry_run: bool,
) -> None:
    """Correct dead letters and append them to the events, each once.

    A letter that was replayed is skipped. An event keeps its event_id, so it counts once however often it is
    appended. A letter that is still no valid event is reported and left; the exit status is then 1.
    """
    from reprise.dlq.dead_letters import DeadLetterError, corrected, replay, select
    from reprise.events import encode_event
    from reprise.log import open_producer

    if bool(names) == everything:
        raise click.UsageError("Name the letters, or give --all.")
    if file is not None and len(names) != 1:
        raise click.UsageError("--file replaces the record of one letter; name it.")
    fields = dict(_pair(change) for change in changes)
    replacement = None if file is None else file.read()
    refused = 0
    log = None if dry_run else open_producer(settings)
    try:
        for letter in select(_read(settings), names, reason):
            if (replayed := letter.replayed_as) is not None:
                click.echo(f"{letter.name}: was replayed as {replayed.partition}:{replayed.offset}", err=True)
                continue
            try:
                event = corrected(letter, fields, replacement, settings.kept_fields)
            except DeadLetterError as error:
                refused += 1
                click.echo(str(error), err=True)
                continue
            if log is None:
                click.echo(f"{letter.name}: {encode_event(event).decode()}")
            else:
                position = replay(log, letter, event, settings.timeout_seconds)
                click.echo(f"{letter.name}: appended as {position.partition}:{position.offset}")
    finally:
        if log is not None:
            log.close(settings.timeout_seconds)
    if refused:
        raise click.exceptions.Exit(1)


def _read(settings: "DlqSettings") -> "list[DeadLetter]":
    from reprise.dlq.dead_letters import read_letters
    from reprise.log.backend import describe_log

    describe_log(settings)
    return read_letters(settings, settings.group, settings.timeout_seconds)


def _printable(data: bytes) -> str:
    """Return text without control characters, which a terminal would obey."""
    text = data.decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _pair(change: str) -> tuple[str, str]:
    name, separator, value = change.partition("=")
    if not separator:
        raise click.UsageError(f"--set {change}: expected FIELD=VALUE.")
    return name, value


for each in (list_command, show_command, replay_command):
    command.add_command(each)
