"""The page as HTML, with everything in it: style, script, curves, icon."""

import base64
import hashlib
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reprise.status import formatting as wording
from reprise.status.report import Figure, Finding, Report
from reprise.status.sparkline import HEIGHT, WIDTH, Sparkline, sparkline

_FOLDER = files("reprise.status") / "templates"
STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
SCRIPT = (_FOLDER / "refresh.js").read_text(encoding="utf-8")

# What the upper edge of a curve stands for at least, so that a quiet hour does not look like a mountain range.
_AT_LEAST = {
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
"""Nothing runs on the page but this style and this script, whatever a service may have told."""


def render(report: Report, documentation: str) -> str:
    """Return the page.

    Args:
        report: What it tells.
        documentation: Address of the folder that holds ``docs``, empty where links lead nowhere.
    """
    return _ENVIRONMENT.get_template("page.html.j2").render(
        report=report,
        documentation=documentation.rstrip("/"),
        icon_colour=_ICON_COLOURS[report.verdict.level],
        curves={name: curve_of(report, name) for name in report.curves},
        # An hour that is over by a look is an hour.
        covers=wording.duration(max(1.0, report.covers_seconds)),
    )


def render_waiting() -> str:
    """Return the page of the moment before the first look is over."""
    return _ENVIRONMENT.get_template("waiting.html.j2").render()


def curve_of(report: Report, name: str) -> Sparkline | None:
    """Return a curve of the report."""
    return sparkline(report.curves[name], at_least=_AT_LEAST[name])


def _runbook(finding: Finding, documentation: str) -> str:
    return f"{documentation}/docs/operations.md#{finding.section}" if documentation else ""


def _section(finding: Finding) -> str:
    return finding.section.replace("-", " ")


def _clock(moment: datetime) -> str:
    return moment.strftime("%H:%M:%S UTC")


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _number(figure: Figure) -> Markup:
    """Return a figure's number and unit, or that it is not known and why; each part escaped."""
    if figure.value is None:
        return Markup('<span class="unknown">not known: {}</span>').format(figure.unknown)
    number, unit = wording.parts(figure)
    return Markup("{}&#8239;{}").format(number, unit) if unit else Markup("{}").format(number)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reprise.status"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "age": wording.age,
        "clock": _clock,
        "day": _day,
        "digest": wording.digest,
        "duration": wording.duration,
        "number": _number,
        "parts": wording.parts,
        "percent": wording.percent,
        "runbook": _runbook,
        "section": _section,
    }
    environment.filters.update(filters)
    environment.globals.update(
        style=Markup(STYLE), script=Markup(SCRIPT), width=f"{WIDTH:g}", height=f"{HEIGHT:g}"
    )
    return environment


_ENVIRONMENT = _environment()
