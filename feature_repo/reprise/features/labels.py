"""The label of training rows and of outcomes, as SQL.

It says whether the same user buys the same product in (t, t + horizon], and is known when the horizon is over.
Purchases that are returned within the refund window may not count; then it is known one window later.
All instants are BIGINT microseconds.
"""

from dataclasses import dataclass

from reprise.sql import literal

RETURN_TYPES = ("return", "refund")
"""Types of the events that return a purchase."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The events that are predicted."""

    purchase_type: str
    refund_us: int = 0  # A purchase that is returned within this time does not count; 0 if all count


def refunded_purchases(events: str, outcome: Outcome) -> str:
    """Return the query of the ``event_id`` of the purchases that are returned within the refund window.

    A return belongs to the pair's most recent purchase before it, or at its instant, that has no return yet; without
    one it is ignored. ``events`` is SQL of event_id, user_id, product_id, event_type and ts, each event once.
    """
    pair, place = "PARTITION BY user_id, product_id", "ORDER BY place"
    types = ", ".join(map(literal, (outcome.purchase_type, *RETURN_TYPES)))
    # purchases and returns nest like parentheses: at each depth, a purchase and its return alternate
    return f"""
        WITH placed AS (
            SELECT *, row_number() OVER ({pair} ORDER BY ts, is_return, event_id) AS place FROM (
                SELECT *, event_type <> {literal(outcome.purchase_type)} AS is_return
                FROM {events} WHERE event_type IN ({types})
            )
        ),
        balanced AS (
            SELECT *, sum(CASE WHEN is_return THEN -1 ELSE 1 END) OVER ({pair} {place}) AS balance FROM placed
        ),
        nested AS (
            SELECT *, balance - least(0, min(balance) OVER ({pair} {place})) + is_return::INT AS depth FROM balanced
        ),
        matched AS (
            SELECT *, lead(ts) OVER (PARTITION BY user_id, product_id, depth {place}) AS returned_ts FROM nested
        )
        SELECT event_id FROM matched WHERE NOT is_return AND returned_ts <= ts + {outcome.refund_us}
    """


def horizon_is_over(instant: str, horizon_us: int, complete_until: int | str) -> str:
    """Return whether every purchase within the horizon of an instant is known; ``complete_until`` may be SQL."""
    return f"{instant} + {horizon_us} <= {complete_until}"


def bought_within(wait: str, horizon_us: int) -> str:
    """Return whether the wait until the next purchase, null without one, ends within the horizon."""
    return f"coalesce({wait} <= {horizon_us}, false)"


def training_label(frame: str, horizon_us: int, complete_until: int | str) -> str:
    """Return the label of an event's row, over the columns of ``batch_sql.lifted_select``; null while not known.

    ``frame`` is the dataframe of purchases; ``refunded`` is a further column.
    """
    bought = (
        f"count(CASE WHEN NOT refunded THEN {frame}_t END) OVER (PARTITION BY user_id, product_id ORDER BY ts"
        f" RANGE BETWEEN 1 FOLLOWING AND {horizon_us} FOLLOWING) > 0"
    )
    return f"CASE WHEN {horizon_is_over('ts', horizon_us, complete_until)} THEN {bought} END"
