"""The chart's rules with all their durations shortened, so that an alert fires within seconds on a running platform.

What is shortened: each rule's ``for`` and ``keep_firing_for``, each group's ``interval``, and the ranges, steps and
offsets of the queries. What is not: the names of recorded series, which keep the window of the rules they come from,
and thresholds; those that are ages (``> 36 * 3600``) can be, by ``with_shorter_ages``.
"""

import math
import re
from typing import Any

import yaml

_MILLISECONDS = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
_AGE = re.compile(r"\b(\d+) \* (3600|86400)\b")
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_STRING_OR_DURATION = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
    rf"|\[\s*(?P<range>{_DURATION})\s*(?P<subquery>:\s*(?P<step>{_DURATION})?\s*)?\]"
    rf"|\boffset\s+(?P<offset>-?{_DURATION})"
)


def shortened_rules(text: str, factor: float, least_window_seconds: float) -> str:
    """Return a rules file in which everything lasts a factor less, but no range of a query less than the window.

    A rate needs two scrapes, and a few more where one may be missed: five times the interval of scraping does.
    """
    rules = yaml.safe_load(text)
    for group in rules["groups"]:
        _shorten(group, ("interval",), factor)
        for rule in group["rules"]:
            _shorten(rule, ("for", "keep_firing_for"), factor)
            rule["expr"] = shortened_query(rule["expr"], factor, least_window_seconds)
    return yaml.safe_dump(rules, sort_keys=False, width=1000)


def shortened_query(query: str, factor: float, least_window_seconds: float) -> str:
    """Return a query whose ranges, steps and offsets are a factor less, its ranges no shorter than the least window."""
    least = math.ceil(least_window_seconds * 1000)

    def replace(found: re.Match[str]) -> str:
        if found["string"] is not None:
            return found["string"]
        if found["offset"] is not None:
            sign = "-" if found["offset"].startswith("-") else ""
            return f"offset {sign}{_less(found['offset'].lstrip('-'), factor)}"
        window = _less(found["range"], factor, least)
        if found["subquery"] is None:
            return f"[{window}]"
        return f"[{window}:{_less(found['step'], factor) if found['step'] else ''}]"

    return _STRING_OR_DURATION.sub(replace, query)


def with_shorter_ages(text: str, factor: float) -> str:
    """Return a rules file whose thresholds in hours (``36 * 3600``) and days (``14 * 86400``) are a factor less."""
    return _AGE.sub(lambda found: f"{int(found[1]) * int(found[2]) / factor:g}", text)


def milliseconds(duration: str) -> int:
    """Return the length of a duration as Prometheus writes it, such as ``1h30m``."""
    if not re.fullmatch(_DURATION, duration):
        raise ValueError(f"{duration!r} is no duration of Prometheus'")
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(duration))


def _shorten(part: dict[str, Any], names: tuple[str, ...], factor: float) -> None:
    for name in names:
        if name in part:
            part[name] = _less(str(part[name]), factor)


def _less(duration: str, factor: float, least: int = 1) -> str:
    return f"{max(least, round(milliseconds(duration) / factor))}ms"
