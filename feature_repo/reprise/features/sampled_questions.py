"""Requests that training samples from a history besides its events: just after an event, and when nothing happens.

A request at an event is asked before the event is stored. Shops also ask just after it is stored, and ask about pairs
when nothing happens (idle): for reminders, or to score everybody. Idle requests carry neither event type nor amount.
"""

from typing import Literal, get_args

from reprise.features.sql_dialect import SqlDialect
from reprise.sql import literal

Asked = Literal["before", "after", "idle"]
"""When a row is asked: before its event is stored, after it, or without one."""

ASKED: tuple[Asked, ...] = get_args(Asked)

IDLE_SHARE = 0.15
"""Idle rows of pairs that were bought before, and as many of others, as a share of the events."""
AFTER_SHARE = 0.05
"""Share of the events, besides purchases, that are asked about again just after."""
AFTER_US = 60_000_000
"""Longest time after an event at which that is asked."""

_KEYS = float(2**60)


def sampled_questions(horizon_us: int, purchase_type: str, dialect: SqlDialect) -> str:
    """Return the query of the sampled requests over the table ``events`` of a ``PlanExecutor``.

    It has ``batch_sql.ROW_COLUMNS`` and ``asked``.

    Idle instants are uniform over the time in which a pair was known but not bought, and over the time since its first
    purchase, until the last instant with a label. So at any instant all pairs are equally likely. Each pair has a
    systematic sample: instants one period apart, from an offset that is the hash of its ids.
    """
    is_purchase = f"event_type = {literal(purchase_type)}"
    event_key, rounded = dialect.event_key, dialect.rounded
    offset = f"{event_key(_text('idle', 'user_id', 'product_id'))} / {_KEYS!r}"
    delay = "1 + " + rounded(f"{event_key(_text('after', 'event_id'))} / {_KEYS!r} * {AFTER_US}")
    number = dialect.each_between("floor(from_period)::BIGINT + 1", "floor(to_period)::BIGINT + 1")
    return f"""
        WITH span AS (SELECT min(ts) AS first, max(ts) - {horizon_us} AS last, count(*) AS events FROM events),
        pairs AS (
            SELECT user_id, product_id, min(ts) AS known, min(ts) FILTER (WHERE {is_purchase}) AS bought,
                   {offset} AS pair_offset
            FROM events GROUP BY user_id, product_id
        ),
        phases AS (
            SELECT user_id, product_id, pair_offset, false AS repeat, known AS opens, coalesce(bought, last) AS closes
            FROM pairs, span
            UNION ALL
            SELECT user_id, product_id, pair_offset, true, bought, last FROM pairs, span WHERE bought IS NOT NULL
        ),
        spans AS (
            SELECT *, least(closes, last) AS ends FROM phases, span WHERE opens < least(closes, last)
        ),
        totals AS (
            SELECT repeat, sum((ends - opens)::DECIMAL(28, 0))::DOUBLE AS total FROM spans GROUP BY repeat
        ),
        periods AS (
            SELECT *, total / ({IDLE_SHARE} * events)::DOUBLE AS period FROM spans JOIN totals USING (repeat)
        ),
        numbers AS (
            SELECT *, (opens - first) / period - pair_offset AS from_period,
                   (ends - first) / period - pair_offset AS to_period
            FROM periods
        ),
        idle AS (
            SELECT user_id, product_id, first + {rounded("(number + pair_offset) * period")} AS ts
            FROM (SELECT *, {number} AS number FROM numbers)
        )
        SELECT {event_key(_text("user_id", "product_id", "ts"))} AS row_id, NULL AS event_id, user_id,
               product_id, NULL AS event_type, ts, NULL AS amount, NULL AS event_key, false AS is_event,
               true AS is_row, NULL AS is_purchase, 'idle' AS asked
        FROM idle
        UNION ALL
        SELECT event_key, event_id, user_id, product_id, event_type, ts + {delay}, amount, event_key, false, true,
               ({is_purchase})::DOUBLE, 'after'
        FROM events WHERE {is_purchase} OR event_key % 1000 < {AFTER_SHARE * 1000:.0f}
    """


def _text(*parts: str) -> str:
    constants = {"idle", "after"}
    return " || chr(0) || ".join(literal(part) if part in constants else part for part in parts)
