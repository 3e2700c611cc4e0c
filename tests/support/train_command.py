"""The import that a command line of ``reprise train`` asks for."""

import shlex
from pathlib import Path

import click

from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions, event_file_options
from reprise.event_files.report import ImportReport


@click.command()
@click.option("--events", type=Path)
@click.option("--out")
@event_file_options
def options_of(events: Path, out: str, import_options: ImportOptions) -> tuple[Path, ImportOptions]:
    return events, import_options


def run_import(command_line: str, out: Path) -> ImportReport:
    """Import as a command line of ``reprise train`` says."""
    program, name, *words = shlex.split(command_line)
    assert (program, name) == ("reprise", "train")
    events, options = options_of.main(words, standalone_mode=False)
    return import_events(events, out, options=options)
