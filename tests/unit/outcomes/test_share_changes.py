from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from reprise.outcomes.tables.compared_arms import ComparedArm, ComparedArms, arm_sql
from reprise.outcomes.tables.outcome_join import ExposureWindow, enter_users
from reprise.outcomes.tables.share_changes import assign_users, candidate_periods, find_share_changes
from reprise.routing.sample_ratio import sample_ratio

USERS, CHANGES = 200, (1_050, 2_075)
SHARES = (2, 3, 5)
"""Tenths of the users that the candidate has in each period."""


def in_candidate(user: int, share: int) -> bool:
    return user % 10 < share


@pytest.fixture
def connection() -> Iterator[Any]:
    """Predictions at every instant from 0 to 2,999; some of the candidate's are answered by the baseline."""
    rows = []
    for at in range(3_000):
        user = at * 7 % USERS
        candidate = in_candidate(user, SHARES[bisect_right(CHANGES, at)]) and at % 53 != 28
        rows.append((at, user, str(user), at, "forest" if candidate else "baseline"))
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE scored (row_id BIGINT, user_number BIGINT, user_id VARCHAR, timestamp_us BIGINT, arm VARCHAR,"
            " digest VARCHAR DEFAULT 'd', shadow BOOLEAN DEFAULT false, product_id VARCHAR DEFAULT 'p',"
            " drawn BIGINT DEFAULT 0, probability DOUBLE DEFAULT 0.5, wait_us BIGINT)"
        )
        columns = ("row_id", "user_number", "user_id", "timestamp_us", "arm")
        connection.register(
            "rows", pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
        )
        connection.execute(f"INSERT INTO scored ({', '.join(columns)}) SELECT * FROM rows")
        connection.execute("CREATE TABLE users AS SELECT DISTINCT user_number, user_id FROM scored")
        yield connection


ARMS = ComparedArms(
    "shop/trial",
    ComparedArm("baseline", "d", 5_000, shadow=False),
    (ComparedArm("forest", "d", 5_000, shadow=False),),
    lambda user: "forest" if in_candidate(int(user), SHARES[-1]) else "baseline",
)


def test_all_changes_of_the_shares_are_found(connection: Any) -> None:
    assign_users(connection, ARMS)
    found = find_share_changes(connection, ARMS)
    assert len(found) == 2
    assert all(change - 30 < at <= change for at, change in zip(found, CHANGES, strict=True))


def test_a_user_enters_once_under_shares_that_last_until_the_values_are_final(connection: Any) -> None:
    assign_users(connection, ARMS)
    window = ExposureWindow(horizon_us=800, exposure_us=100, until_us=3_000)
    periods = candidate_periods(connection, ARMS.candidates[0], (-5_000, 0, *CHANGES))
    assert [start for start, _ in periods] == [0, *CHANGES]
    enter_users(connection, arm_sql(ARMS), periods, window, assigned=True)
    entered = connection.execute(
        "SELECT user_number, stratum, entry_us, unit_arm FROM entered ORDER BY user_number"
    ).fetchall()
    assert [user for user, *_ in entered] == list(range(USERS))
    # everybody asks once in 200, and not everybody early enough in the first two periods
    assert {stratum for _, stratum, *_ in entered} == {0, 1, 2}
    for user, stratum, entry_us, arm in entered:
        assert stratum == 2 or entry_us <= CHANGES[stratum] - window.mature_us
        assert bool(arm) == in_candidate(user, SHARES[stratum]), (user, stratum)


@pytest.mark.parametrize(("users", "share"), [(2_000, 0.5), (20_000, 0.1), (20_000, 0.05), (200_000, 0.01)])
def test_a_loss_that_is_said_to_be_detectable_is_found_in_four_of_five_experiments(
    users: int, share: float
) -> None:
    due = round(users * share)
    loss = sample_ratio([due, users - due], [share, 1 - share]).detectable_loss
    rng = np.random.default_rng(5)
    entered = rng.binomial(users, share, 400)
    left = zip(rng.binomial(entered, 1 - loss).tolist(), (users - entered).tolist(), strict=True)
    alarms = [sample_ratio(arms, [share, 1 - share]).anytime_p_value < 0.001 for arms in left]
    assert 0.72 < np.mean(alarms) < 0.92


def test_no_loss_is_detectable_among_a_hundred_users() -> None:
    assert sample_ratio([1, 99], [1, 99]).detectable_loss > 1
