"""The label of training rows and of outcomes, as SQL.

It says whether the same user buys the same product in (t, t + horizon], and is known when the horizon is over.
All instants are BIGINT microseconds.
"""


def horizon_is_over(instant: str, horizon_us: int, complete_until: int | str) -> str:
    """Return whether every purchase within the horizon of an instant is known; ``complete_until`` may be SQL."""
    return f"{instant} + {horizon_us} <= {complete_until}"


def bought_within(wait: str, horizon_us: int) -> str:
    """Return whether the wait until the next purchase, null without one, ends within the horizon."""
    return f"coalesce({wait} <= {horizon_us}, false)"


def training_label(horizon_us: int, complete_until: int | str) -> str:
    """Return the label of an event's row, over the columns of ``batch_sql.lifted_select``; null while not known."""
    bought = (
        "count(purchases_t) OVER (PARTITION BY user_id, product_id ORDER BY ts"
        f" RANGE BETWEEN 1 FOLLOWING AND {horizon_us} FOLLOWING) > 0"
    )
    return f"CASE WHEN {horizon_is_over('ts', horizon_us, complete_until)} THEN {bought} END"
