"""HTML pages from templates."""

import math
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def html_environment(package: str, **filters: Any) -> Environment:
    """Return the templates of a package, escaping what they insert, with the filters of all reports and these.

    A report extends ``report_page.html.j2``. ``number`` shows four decimals, ``percent`` one, ``count`` a thousands
    separator. A number that is None or NaN is shown as a dash.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("reprise.reports")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "count": "{:,}".format, **filters}
    return environment


def number(value: float | None, spec: str = ".4f") -> str:
    """Return the formatted number, or a dash if it is None or NaN."""
    return "–" if value is None or math.isnan(value) else format(value, spec)


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal, or a dash if it is None or NaN."""
    return number(value, ".1%")
