"""The instants at which the weights of the arms changed, found in the predictions.

A user of a candidate's arm whom the baseline answered, or the reverse, was answered before the weights changed; hardly
anybody is after it (a pod that cannot load a bundle answers with the baseline). So the latest change is where this sum
stops climbing: +1 for a prediction that disagrees with the present assignment, −0.1 for one that agrees, over the
predictions that concern the arm: a CUSUM (Page, *Continuous inspection schemes*, Biometrika 41, 1954).

The assignment before that change is not known any more. The arm that last answered a user before the change stands for
it, and the change before is found in the same way.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from reprise.outcomes.tables.compared_arms import ComparedArm, ComparedArms, arm_sql
from reprise.sql import literal

_AGREES = 0.1
_BATCH = 65_536
MAX_CHANGES = 12
_MIN_USERS = 30
_FOREVER_US = 2**62


def assign_users(connection: Any, arms: ComparedArms) -> None:
    """Create the table ``assigned``: the place of every user's arm by the present assignment."""
    assert arms.arm_of is not None
    place = {arm.name: at for at, arm in enumerate(arms.arms)}
    connection.execute("CREATE TABLE assigned (user_number BIGINT, assigned INTEGER)").fetchall()
    numbers = connection.cursor()
    for batch in numbers.sql("SELECT user_number, user_id FROM users").to_arrow_reader(_BATCH):
        assigned = [place[arms.arm_of(user)] for user in batch.column("user_id").to_pylist()]
        columns = {"user_number": batch.column("user_number"), "assigned": pa.array(assigned, pa.int32())}
        connection.register("block", pa.table(columns))
        connection.execute("INSERT INTO assigned SELECT * FROM block").fetchall()
        connection.unregister("block")


def find_share_changes(connection: Any, arms: ComparedArms) -> tuple[int, ...]:
    """Return the instants of the first prediction under each new weights, the latest twelve at most, oldest first."""
    arm = arm_sql(arms)
    changes: list[int] = []
    assigned, before = "assigned", "true"
    while len(changes) < MAX_CHANGES:
        change = _latest_change(connection, arm, len(arms.arms), assigned, before)
        if change is None:
            break
        changes.append(change)
        before = f"timestamp_us < {change}"
        assigned = f"""(
            SELECT user_number, arg_max({arm}, (timestamp_us, row_id)) AS assigned FROM scored
            WHERE NOT shadow AND {before} AND ({arm}) IS NOT NULL GROUP BY user_number
        )"""
    return tuple(reversed(changes))


def _latest_change(connection: Any, arm: str, places: int, assigned: str, before: str) -> int | None:
    changes = []
    for place in range(places):
        [(instant, height)] = connection.execute(
            f"""
            SELECT arg_max(timestamp_us, climb), max(climb) FROM (
                SELECT timestamp_us,
                       sum(CASE WHEN ({arm}) IS DISTINCT FROM assigned THEN 1.0 ELSE -{_AGREES} END)
                           OVER (ORDER BY timestamp_us, row_id) AS climb
                FROM scored JOIN {assigned} AS assignment USING (user_number)
                WHERE NOT shadow AND {before} AND (assigned = {place} OR ({arm}) = {place})
            )
            """
        ).fetchall()
        if height is not None and height > 0:
            changes.append(int(instant) + 1)
    return max(changes, default=None)


def candidate_periods(
    connection: Any, candidate: ComparedArm, starts_us: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return start and end of the periods in which a candidate answered or scored for thirty users, and of the present.

    Nobody enters its test in other periods: a user who entered before the candidate had users could not be compared
    with anybody, and enters only once.
    """
    periods = tuple(pairwise((*starts_us, _FOREVER_US)))
    within = (f"(timestamp_us >= {start} AND timestamp_us < {end})" for start, end in periods)
    counts = ", ".join(f"count(DISTINCT user_number) FILTER {condition}" for condition in within)
    [users] = connection.execute(
        f"""
        SELECT {counts} FROM scored
        WHERE arm = {literal(candidate.name)} AND digest = {literal(candidate.digest)}
        """
    ).fetchall()
    past = [period for period, count in zip(periods[:-1], users[:-1], strict=True) if count >= _MIN_USERS]
    return (*past, periods[-1])
