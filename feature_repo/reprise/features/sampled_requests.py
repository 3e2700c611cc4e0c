"""Requests that training samples from a history besides its events: just after an event, and when nothing happens.

A request at an event is asked before the event is stored. Shops also ask just after it is stored, and ask about pairs
when nothing happens (idle): for reminders, or to score everybody. Idle requests carry neither event type nor amount.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from reprise.features.accumulators import MICROSECONDS_PER_DAY
from reprise.features.feature_functions import double
from reprise.features.sql_dialect import SqlDialect
from reprise.sql import literal

Asked = Literal["before", "after", "idle"]
"""When a row is asked: before its event is stored, after it, or without one."""

ASKED: tuple[Asked, ...] = get_args(Asked)

IDLE_SHARE = 0.15
"""Idle rows of pairs that were bought before, and as many of others, as a share of the events of a day."""
AFTER_SHARE = 0.05
"""Share of the events, besides purchases, that are asked about again just after."""
AFTER_US = 60_000_000
"""Longest time after an event at which that is asked, on the same day."""

SAMPLING_TABLES = ("sampling_pairs", "sampling_days")
"""Tables of ``sampling_tables``."""

_KEYS = float(2**60)
_UNIT = 2**40
"""One expected request, so that sums of expected requests are exact in any order."""


@dataclass(frozen=True, slots=True)
class EarlierDays:
    """What is known of the days before the first event of the table ``events``, whose requests are left out."""

    end_us: int  # Their end, the start of a day
    pairs: str  # SQL of the ``known_pairs`` of their events
    expected: Mapping[bool, int]  # Their ``expected_idle``, by whether pairs were bought before


def known_pairs(purchase_type: str, earlier: EarlierDays | None = None, before_us: int | None = None) -> str:
    """Return the query of each pair's first event and first purchase, ``known`` and ``bought``.

    Events at ``before_us`` and later are left out.
    """
    bought = f"CASE WHEN event_type = {literal(purchase_type)} THEN ts END"
    past = "" if before_us is None else f" WHERE ts < {before_us}"
    source = f"SELECT user_id, product_id, ts AS known, {bought} AS bought FROM events{past}"
    if earlier is not None:
        source += f" UNION ALL SELECT user_id, product_id, known, bought FROM {earlier.pairs}"
    return (
        "SELECT user_id, product_id, min(known) AS known, min(bought) AS bought"
        f" FROM ({source}) GROUP BY user_id, product_id"
    )


def sampling_tables(
    horizon_us: int, purchase_type: str, dialect: SqlDialect, earlier: EarlierDays | None = None
) -> dict[str, str]:
    """Return the queries of the ``SAMPLING_TABLES``, each of which may use the one before, over the table ``events``.

    ``sampling_pairs`` has the ``known_pairs`` and the offsets of their samples. ``sampling_days`` has the idle requests
    expected of a pair on a day, ``of_day``, and on all days before it, ``before_day``, in units of ``_UNIT``, by
    ``repeat``, whether the pair was bought before.
    """
    offset = f"{dialect.event_key(_text('idle', 'user_id', 'product_id'))} % {_UNIT}"
    queries = (
        f"SELECT *, {offset} AS pair_offset FROM ({known_pairs(purchase_type, earlier)})",
        _sampling_days(horizon_us, dialect, earlier),
    )
    return dict(zip(SAMPLING_TABLES, queries, strict=True))


def expected_idle(before_us: int | None = None) -> str:
    """Return the query of the idle requests expected of a pair until an instant, from the ``sampling_tables``.

    It has ``repeat``, whether of a pair that was bought before, and ``expected``.
    """
    past = "" if before_us is None else f" WHERE day < {before_us}"
    return f"SELECT repeat, max(before_day + of_day) AS expected FROM sampling_days{past} GROUP BY repeat"


def sampled_requests(
    horizon_us: int, purchase_type: str, dialect: SqlDialect, earlier: EarlierDays | None = None
) -> str:
    """Return the query of the sampled requests over the table ``events`` and the ``sampling_tables``.

    It has ``batch_sql.ROW_COLUMNS`` and ``asked``.

    Idle instants are in the time in which a pair was known but not bought, and in the time since its first purchase,
    until the last instant with a label. Each day has as many of either as ``IDLE_SHARE`` of its events, at most one
    per pair, and at any instant all pairs are equally likely. Each pair has a systematic sample: instants between
    which one instant is expected, from an offset that is the hash of its ids. So the requests of a day depend on the
    events until its end alone.
    """
    is_purchase = f"event_type = {literal(purchase_type)}"
    event_key, rounded = dialect.event_key, dialect.rounded
    longest = f"least({AFTER_US}, {MICROSECONDS_PER_DAY - 2} - ts % {MICROSECONDS_PER_DAY})"
    delay = "1 + " + rounded(f"{event_key(_text('after', 'event_id'))} / {_KEYS!r} * {longest}")
    unit, day_us = double(_UNIT), double(MICROSECONDS_PER_DAY)
    number = dialect.each_between(
        f"floor(from_sum / {unit})::BIGINT + 1", f"floor(to_sum / {unit})::BIGINT + 1"
    )
    in_day = rounded(f"(at_sum - before_day)::DOUBLE / of_day::DOUBLE * {day_us}")
    return f"""
        WITH totals AS (SELECT repeat, max(before_day + of_day) AS total FROM sampling_days GROUP BY repeat),
        phases AS ({_phases(0 if earlier is None else earlier.end_us)}),
        numbers AS (
            SELECT p.*, {_sum_at("o", "opens", rounded)} - pair_offset AS from_sum,
                   coalesce({_sum_at("c", "closes", rounded)}, total) - pair_offset AS to_sum
            FROM phases p JOIN totals t ON p.repeat = t.repeat
            JOIN sampling_days o ON p.repeat = o.repeat AND {_day("opens")} = o.day
            LEFT JOIN sampling_days c ON p.repeat = c.repeat AND {_day("closes")} = c.day
        ),
        sampled AS (
            SELECT *, number * {_UNIT} + pair_offset AS at_sum FROM (SELECT *, {number} AS number FROM numbers)
        ),
        idle AS (
            SELECT user_id, product_id, ts FROM (
                SELECT user_id, product_id, opens, closes,
                       day + least(greatest({in_day}, 1), {MICROSECONDS_PER_DAY - 1}) AS ts
                FROM sampled s JOIN sampling_days d
                    ON s.repeat = d.repeat AND at_sum > before_day AND at_sum <= before_day + of_day
            ) WHERE ts > opens AND (closes IS NULL OR ts <= closes) AND ts <= {_last(horizon_us)}
        )
        SELECT {event_key(_text("user_id", "product_id", "ts"))} AS row_id, NULL AS event_id, user_id,
               product_id, NULL AS event_type, ts, NULL AS amount, NULL AS event_key, false AS is_event,
               true AS is_row, NULL AS is_purchase, 'idle' AS asked
        FROM idle
        UNION ALL
        SELECT event_key, event_id, user_id, product_id, event_type, ts + {delay}, amount, event_key, false, true,
               ({is_purchase})::DOUBLE, 'after'
        FROM events WHERE ({is_purchase} OR event_key % 1000 < {AFTER_SHARE * 1000:.0f}) AND {longest} >= 0
    """


def _last(horizon_us: int) -> str:
    """Return the last instant whose label is known."""
    return f"(SELECT max(ts) - {horizon_us} FROM events)"


def _phases(start_us: int) -> str:
    """Return the times in which a pair was known but not bought, and since it was bought, from ``start_us`` on."""
    return f"""
        SELECT user_id, product_id, pair_offset, false AS repeat, greatest(known, {start_us}) AS opens, bought AS closes
        FROM sampling_pairs WHERE bought IS NULL OR bought >= {start_us}
        UNION ALL
        SELECT user_id, product_id, pair_offset, true, greatest(bought, {start_us}), NULL
        FROM sampling_pairs WHERE bought IS NOT NULL
        """


def _sampling_days(horizon_us: int, dialect: SqlDialect, earlier: EarlierDays | None) -> str:
    # No WITH: Spark 4.1 fails to plan one that names a cached table twice
    start_us, expected = (0, {}) if earlier is None else (earlier.end_us, earlier.expected)
    before = f"CASE WHEN repeat THEN {expected.get(True, 0)} ELSE {expected.get(False, 0)} END"
    day_us = double(MICROSECONDS_PER_DAY)
    of_day = f"least(1e0, {double(IDLE_SHARE)} * events::DOUBLE * {day_us} / alive_us) * {double(_UNIT)}"
    alive_before = "sum(pairs) OVER (PARTITION BY repeat ORDER BY day) - pairs"
    of_events = f"SELECT {_day('ts')} AS day, count(*) AS events FROM events GROUP BY 1"
    alive_us = f"(({alive_before})::DECIMAL(18, 0) * {MICROSECONDS_PER_DAY} + rest_us)::DOUBLE"
    if earlier is not None:  # Pairs of earlier days open at its start, with or without events on it
        of_events = f"SELECT day, sum(events) AS events FROM ({of_events} UNION ALL SELECT {start_us}, 0) GROUP BY day"
    changes = f"""
        SELECT repeat, day, sum(pairs)::BIGINT AS pairs, sum(rest_us::DECIMAL(28, 0)) AS rest_us FROM (
            SELECT repeat, {_day("opens")} AS day, 1 AS pairs,
                   {MICROSECONDS_PER_DAY} - opens % {MICROSECONDS_PER_DAY} AS rest_us
            FROM ({_phases(start_us)})
            UNION ALL
            SELECT repeat, {_day("closes")}, -1, closes % {MICROSECONDS_PER_DAY} - {MICROSECONDS_PER_DAY}
            FROM ({_phases(start_us)}) WHERE closes IS NOT NULL
        ) GROUP BY repeat, day"""
    days = f"""
        SELECT repeat, day, events, coalesce(pairs, 0) AS pairs, coalesce(rest_us, 0) AS rest_us
        FROM ({of_events})
        CROSS JOIN (SELECT false AS repeat UNION ALL SELECT true)
        LEFT JOIN ({changes}) USING (repeat, day)"""
    return f"""
        SELECT repeat, day, of_day,
               (sum(of_day) OVER (PARTITION BY repeat ORDER BY day) - of_day + {before})::BIGINT AS before_day
        FROM (
            SELECT repeat, day, CASE WHEN alive_us > 0 THEN {dialect.rounded(of_day)} ELSE 0 END AS of_day
            FROM (SELECT repeat, day, events, {alive_us} AS alive_us FROM ({days}))
            WHERE day <= {_last(horizon_us)}
        )"""


def _day(instant: str) -> str:
    """Return the start of an instant's day, UTC."""
    return f"({instant} - {instant} % {MICROSECONDS_PER_DAY})"


def _sum_at(day: str, instant: str, rounded: Callable[[str], str]) -> str:
    """Return the expected number of a pair's requests until an instant, in units of ``_UNIT``."""
    of_day = f"{day}.of_day::DOUBLE * (({instant} % {MICROSECONDS_PER_DAY})::DOUBLE / {double(MICROSECONDS_PER_DAY)})"
    return f"({day}.before_day + {rounded(of_day)})"


def _text(*parts: str) -> str:
    constants = {"idle", "after"}
    return " || chr(0) || ".join(literal(part) if part in constants else part for part in parts)
