"""Numbers, durations and digests for people."""

from datetime import datetime

from reprise.status.report import Figure

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


def plain(value: float) -> str:
    """Return a number with two or more significant digits."""
    size = abs(value)
    if size >= 100 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2g}"


def count(value: float, noun: str) -> str:
    """Return a number and its noun."""
    return f"{value:,.0f} {noun}" if value == 1 else f"{value:,.0f} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration in one unit."""
    if seconds < 1:
        milliseconds = seconds * 1e3
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} days"


def age(then: datetime, now: datetime) -> str:
    """Return the time since ``then``."""
    seconds = (now - then).total_seconds()
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def digest(text: str) -> str:
    """Return the first 12 digits of a digest."""
    return text.removeprefix("sha256:")[:12]


def percent(share: float) -> str:
    """Return a share in percent."""
    value = round(share * 100, 6)
    return f"{value:.0f}%" if value == round(value) else f"{value:.2g}%" if value < 10 else f"{value:.1f}%"


def parts(figure: Figure) -> tuple[str, str]:
    """Return number and unit of a known figure."""
    assert figure.value is not None
    value = figure.value
    match figure.unit:
        case "1/s":
            return plain(value), "/s"
        case "s":
            number, _, unit = duration(value).partition(" ")
            return number, unit
        case "share":
            return percent(value).removesuffix("%"), "%"
        case "auc":
            return f"{value:.3f}", ""
        case "psi":
            return f"{value:.2f}", ""
        case _:
            return f"{value:,.0f}", ""
