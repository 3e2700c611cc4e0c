"""The page as HTML, with style, script, curves and icon inside."""

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files

from markupsafe import Markup

from reprise.reports.html import html_environment
from reprise.status import formatting
from reprise.status.nightly_report import ReportReader
from reprise.status.report import Figure, Finding, Report
from reprise.status.sparkline import HEIGHT, WIDTH, sparkline

_FOLDER = files("reprise.status") / "templates"
STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
SCRIPT = (_FOLDER / "refresh.js").read_text(encoding="utf-8")

# Minimum of each curve's upper edge, so that noise looks like noise.
_MIN_TOP = {
    "request_rate": 1.0,
    "latency_p99": 0.005,
    "error_share": 0.01,
    "freshness_p95": 0.05,
    "lag": 10.0,
    "fold_rate": 1.0,
}
_ICON_COLOURS = {"good": "%231a7f4b", "watch": "%23b26a00", "bad": "%23c0272d"}


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows only this style and this script, whatever text a service reports."""
REPORT_TAB_POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; frame-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'self'"
)
"""For a page that whoever writes the scoring job's output has written: it runs no script and has no origin."""


def render(report: Report, documentation: str, root_path: str = "", *, has_report: bool = False) -> str:
    """Return the page; ``documentation`` is the URL of the folder that contains ``docs``, or empty.

    ``root_path`` is the path below which a proxy serves it, and ``has_report`` is whether there is a tab of the report.
    """
    return _ENVIRONMENT.get_template("page.html.j2").render(
        report=report,
        title=report.title,
        tab="platform" if has_report else "",
        documentation=documentation.rstrip("/"),
        root_path=root_path,
        icon_colour=_ICON_COLOURS[report.verdict.level],
        curves={name: sparkline(values, min_top=_MIN_TOP[name]) for name, values in report.curves.items()},
        covers=formatting.duration(max(1.0, report.covers_seconds)),
    )


def render_waiting() -> str:
    """Return the page before the first snapshot."""
    return _ENVIRONMENT.get_template("waiting.html.j2").render()


def render_report_tab(reader: ReportReader, command: str, title: str, root_path: str = "") -> str:
    """Return the tab of the report; ``command`` writes one, and ``title`` and ``root_path`` are as of the page."""
    return _ENVIRONMENT.get_template("report.html.j2").render(
        latest=reader.latest,
        location=reader.location,
        now=datetime.now(UTC),
        command=command,
        title=title,
        tab="report",
        root_path=root_path,
    )


def _runbook(finding: Finding, documentation: str) -> str:
    return f"{documentation}/docs/operations.md#{finding.section}" if documentation else ""


def _number(figure: Figure) -> Markup:
    """Return a figure's number and unit, or why it is unknown; each part is escaped."""
    if figure.value is None:
        return Markup('<span class="unknown">not known: {}</span>').format(figure.unknown)
    number, unit = formatting.parts(figure)
    return Markup("{}&#8239;{}").format(number, unit) if unit else Markup("{}").format(number)


_ENVIRONMENT = html_environment(
    "reprise.status",
    age=formatting.age,
    clock=lambda at: at.strftime("%H:%M:%S UTC"),
    day=lambda at: at.strftime("%Y-%m-%d %H:%M UTC"),
    digest=formatting.digest,
    duration=formatting.duration,
    number=_number,
    parts=formatting.parts,
    percent=formatting.percent,
    runbook=_runbook,
    section=lambda finding: finding.section.replace("-", " "),
)
_ENVIRONMENT.globals |= {
    "style": Markup(STYLE),  # noqa: S704 - our own file
    "script": Markup(SCRIPT),  # noqa: S704 - our own file
    "width": f"{WIDTH:g}",
    "height": f"{HEIGHT:g}",
}
