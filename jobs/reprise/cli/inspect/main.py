"""The ``inspect`` command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprise.event_files.options import event_file_options, memory_limit_option
from reprise.runtime.settings_command import error_messages

if TYPE_CHECKING:
    from reprise.event_files.inspection import Inspection

_MAX_EXAMPLE = 40


@click.command("inspect")
@click.argument("sources", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="File for the same as a page.")
@memory_limit_option
@event_file_options
def command(sources: tuple[Path, ...], html: Path | None, memory_limit: str, import_options: Any) -> None:
    """Show what would be read of each file, folder or glob pattern, and the command line to train on it.

    Columns, units of time, event types and encoding are decided as an import decides them; options overrule it.
    Exit status: 0 every source can be read as shown, 1 a source is refused or needs a value in <brackets>.
    """
    from reprise.event_files.inspection import inspect_events

    with error_messages():
        inspections = [inspect_events(source, import_options, memory_limit) for source in sources]
    click.echo("\n\n".join(map(_render, inspections)))
    if html is not None:
        from reprise.reports.html import html_environment
        from reprise.runtime.files import atomic_write

        page = html_environment("reprise.cli.inspect").get_template("page.html.j2")
        with error_messages(html), atomic_write(html) as path:
            path.write_text(page.render(inspections=inspections), encoding="utf-8")
        click.echo(f"\nwrote {html}")
    if any(inspection.problem or inspection.blanks for inspection in inspections):
        raise SystemExit(1)


def _render(inspection: "Inspection") -> str:
    """Return an inspection as lines of text."""
    rows = [("column", "type", "read as", "filled", "for example")]
    for column in inspection.columns:
        kind = "text" if column.kind == "VARCHAR" else column.kind.lower()
        example = "" if column.example is None else column.example[:_MAX_EXAMPLE]
        rows.append((column.name, kind, column.field or "-", f"{column.filled:.0%}", example))
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if inspection.columns else []
    said = [inspection.report.render()] if inspection.report else []
    refused = [f"An import refuses this: {inspection.problem}"] if inspection.problem else []
    lead = "Fill in what is in <brackets>:" if inspection.blanks else "Train on it with:"
    offered = ["", lead, f"  {inspection.command}"] if inspection.blanks or not inspection.problem else []
    lines = [*table, "", *said, *inspection.assumed, *refused, *offered]
    return "\n".join([f"{inspection.source}", "", *lines])
