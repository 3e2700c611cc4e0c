"""When the shares of the arms became what they are now, found in the predictions themselves.

Whoever is in a candidate's arm now but was answered by the baseline, or the other way round, was answered before the
shares changed; hardly anybody is after it (a pod that could not load a bundle answers with the baseline). So
the change is where this sum stops to climb: +1 for a prediction that disagrees with today's assignment, −0.1 for one
that agrees, over the predictions that concern the arm: a CUSUM (Page, *Continuous inspection schemes*, Biometrika
41, 1954). Users who entered before it are not compared: the shares, and so the arms, were others.
"""

from typing import Any

import pyarrow as pa

from reprise.outcomes.tables.compared_arms import Comparison, arm_sql

_AGREES = 0.1
_BATCH = 65_536


def assign_users(connection: Any, comparison: Comparison) -> None:
    """Make the table ``assigned``: the arm of every user by today's assignment."""
    arm_of = comparison.arm_of
    if arm_of is None:
        raise ValueError("there is no assignment without a routing document")
    place = {arm.name: at for at, arm in enumerate(comparison.arms)}
    connection.execute("CREATE TABLE assigned (user_number BIGINT, assigned INTEGER)").fetchall()
    numbers = connection.cursor()
    for batch in numbers.sql("SELECT user_number, user_id FROM users").to_arrow_reader(_BATCH):
        arms = [place[arm_of(user)] for user in batch.column("user_id").to_pylist()]
        block = pa.table({"user_number": batch.column("user_number"), "assigned": pa.array(arms, pa.int32())})
        connection.register("block", block)
        connection.execute("INSERT INTO assigned SELECT * FROM block").fetchall()
        connection.unregister("block")


def shares_since(connection: Any, comparison: Comparison) -> int | None:
    """Return the instant of the first prediction under today's shares; None where they never were others."""
    arm = arm_sql(comparison)
    changes = []
    for at in range(len(comparison.arms)):
        [(instant, height)] = connection.execute(
            f"""
            SELECT arg_max(timestamp_us, climb), max(climb) FROM (
                SELECT timestamp_us,
                       sum(CASE WHEN ({arm}) IS DISTINCT FROM assigned THEN 1.0 ELSE -{_AGREES} END)
                           OVER (ORDER BY timestamp_us, row_id) AS climb
                FROM scored JOIN assigned USING (user_number)
                WHERE NOT shadow AND (assigned = {at} OR ({arm}) = {at})
            )
            """
        ).fetchall()
        if height is not None and height > 0:
            changes.append(int(instant) + 1)
    return max(changes, default=None)
