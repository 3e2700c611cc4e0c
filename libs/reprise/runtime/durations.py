"""Durations, as text ``30d``, ``1d12h``, ``250ms``, and the epoch that instants in integers count from."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from reprise.runtime.exceptions import InvalidDurationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|[wdhms])")


def microseconds(duration: timedelta) -> int:
    """Return a duration in whole microseconds, the resolution of ``timedelta``."""
    return duration // timedelta(microseconds=1)


def parse_duration(text: str) -> timedelta:
    """Return the duration of a text such as ``30d``, ``1d12h``, ``1.5h`` or ``250ms``; raises ``InvalidDurationError``.

    The units are ``w``, ``d``, ``h``, ``m`` (minutes), ``s``, ``ms`` and ``us``; each may occur once.
    """
    compact = text.strip().lower()
    parts = _PART.findall(compact)
    numbers = {unit: float(number) for number, unit in parts}
    if not parts or len(numbers) != len(parts) or compact != "".join(number + unit for number, unit in parts):
        raise InvalidDurationError(
            f"{text!r} is no duration: write a number with a unit (w, d, h, m, s, ms, us), "
            "such as 30d, 90m or 1d12h"
        )
    try:
        return sum((number * _UNITS[unit] for unit, number in numbers.items()), timedelta())
    except OverflowError:
        raise InvalidDurationError(f"{text!r} is too long a duration") from None


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that ``parse_duration`` reads back; raises ``InvalidDurationError`` if negative."""
    if duration < timedelta():
        raise InvalidDurationError(f"{duration} is negative")
    text = ""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, duration = divmod(duration, _UNITS[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"


class DurationType(click.ParamType[timedelta]):
    """A click parameter with the text of a duration, converted to ``timedelta``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration, or fail with the expected format."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except InvalidDurationError as error:
            self.fail(str(error), param, ctx)


DURATION = DurationType()
"""The click type of a duration."""


class DurationsType(click.ParamType[tuple[timedelta, ...]]):
    """A click parameter with the texts of durations, separated by commas."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[timedelta, ...]:
        """Return the durations, or fail with the expected format."""
        parts = value if isinstance(value, tuple) else str(value).split(",")
        return tuple(DURATION.convert(part, param, ctx) for part in parts)


@contextmanager
def timed(durations: dict[str, float], step: str) -> Iterator[None]:
    """Set the seconds that the block took, under the step's name, unless it raises."""
    start = time.perf_counter()
    yield
    durations[step] = time.perf_counter() - start
