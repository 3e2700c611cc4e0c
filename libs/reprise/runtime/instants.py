"""Instants as options of commands."""

from datetime import UTC, datetime
from typing import Any

import click


class _InstantType(click.ParamType[datetime]):
    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(
                f"{value!r} is not a date or date-time, such as 2026-01-31 or 2026-01-31T12:00Z", param, ctx
            )
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


INSTANT = _InstantType()
"""The click type of an instant; in UTC where it has no zone."""
