"""The instant when the weights of the arms last changed, found in the predictions.

A user of a candidate's arm whom the baseline answered, or the reverse, was answered before the weights changed; hardly
anybody is after it (a pod that cannot load a bundle answers with the baseline). So the change is where this sum stops
climbing: +1 for a prediction that disagrees with the present assignment, −0.1 for one that agrees, over the
predictions that concern the arm: a CUSUM (Page, *Continuous inspection schemes*, Biometrika 41, 1954). Earlier
predictions are not compared, because they were made under other weights.
"""

from typing import Any

import pyarrow as pa

from reprise.outcomes.tables.compared_arms import ComparedArms, arm_sql

_AGREES = 0.1
_BATCH = 65_536


def assign_users(connection: Any, arms: ComparedArms) -> None:
    """Create the table ``assigned``: the place of every user's arm by the present assignment."""
    if arms.arm_of is None:
        raise ValueError("there is no assignment without a routing document")
    place = {arm.name: at for at, arm in enumerate(arms.arms)}
    connection.execute("CREATE TABLE assigned (user_number BIGINT, assigned INTEGER)").fetchall()
    numbers = connection.cursor()
    for batch in numbers.sql("SELECT user_number, user_id FROM users").to_arrow_reader(_BATCH):
        assigned = [place[arms.arm_of(user)] for user in batch.column("user_id").to_pylist()]
        columns = {"user_number": batch.column("user_number"), "assigned": pa.array(assigned, pa.int32())}
        connection.register("block", pa.table(columns))
        connection.execute("INSERT INTO assigned SELECT * FROM block").fetchall()
        connection.unregister("block")


def find_share_change(connection: Any, arms: ComparedArms) -> int | None:
    """Return the instant of the first prediction under the present weights, ``None`` if they never changed."""
    arm = arm_sql(arms)
    changes = []
    for place in range(len(arms.arms)):
        [(instant, height)] = connection.execute(
            f"""
            SELECT arg_max(timestamp_us, climb), max(climb) FROM (
                SELECT timestamp_us,
                       sum(CASE WHEN ({arm}) IS DISTINCT FROM assigned THEN 1.0 ELSE -{_AGREES} END)
                           OVER (ORDER BY timestamp_us, row_id) AS climb
                FROM scored JOIN assigned USING (user_number)
                WHERE NOT shadow AND (assigned = {place} OR ({arm}) = {place})
            )
            """
        ).fetchall()
        if height is not None and height > 0:
            changes.append(int(instant) + 1)
    return max(changes, default=None)
