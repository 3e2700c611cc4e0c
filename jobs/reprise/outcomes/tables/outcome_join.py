"""The join of predictions with outcomes in DuckDB, which spills to disk.

The label is the training label of the instant that was predicted for, known once the horizon is over. The purchase
that a prediction was made at is no outcome of this prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from reprise.evaluation.classification_metrics import Floats, Indices, Labels
from reprise.events.event import ANONYMOUS
from reprise.features.labels import Outcome, bought_within, horizon_is_over, refunded_purchases
from reprise.outcomes.tables.archive_snapshot import ArchiveSnapshot
from reprise.sql import event_key, first_of_each_id, literal, numbered_rows

_SAMPLE_PARTS = 1_000_000
_DRAWN = f"{event_key('user_id')} % {_SAMPLE_PARTS}"
_OWN_PURCHASE_US = 60_000_000
"""Time from a purchase request without ``event_id`` in which the pair's first purchase is the request's own event."""


@dataclass(frozen=True, slots=True)
class ModelArm:
    """One model in one arm, and how many predictions it made."""

    arm: str
    digest: str
    shadow: bool
    predictions: int


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Predictions whose horizon is over; arrays of one row per prediction."""

    users: Indices  # Number of the user, from 0
    probabilities: Floats  # Predicted probability
    labels: Labels  # Whether the user bought
    share: float  # Share of the users in it; below 1 if users were sampled


def open_predictions(connection: Any, snapshot: ArchiveSnapshot) -> None:
    """Create the view ``predictions``."""
    connection.execute(
        f"CREATE VIEW predictions AS SELECT * FROM read_parquet({literal(snapshot.predictions)})"
    )


def join_outcomes(
    connection: Any, snapshot: ArchiveSnapshot, outcome: Outcome, senders: str | None = None
) -> None:
    """Create the tables ``users``, ``purchases``, ``bought`` and ``scored``.

    ``bought`` has every purchase that is an outcome, with ``other_ts``, when the pair's first other one at this instant
    or later was. ``scored`` has every prediction with its user's number, from 0, ``own_id``, the id of the event that
    it was made at, and ``wait_us``, the time until the user next bought the product in another event, null if that has
    not happened. Events of others than the ``senders`` do not count, nor as the first of their id.
    """
    rows = f"(SELECT * FROM {numbered_rows(snapshot.events)} WHERE {_is_of(senders)})"
    events = f'(SELECT *, epoch_us("timestamp") AS ts FROM {first_of_each_id(rows)})'
    counted = ""
    if outcome.refund_us:
        counted = f"WHERE event_id NOT IN ({refunded_purchases(events, outcome)})"
    is_purchase = f"event_type = {literal(outcome.purchase_type)}"
    statements = (
        f"""
        CREATE TABLE purchases AS
        SELECT event_id, user_id, product_id, ts FROM {events} WHERE {is_purchase}
        """,
        f"""
        CREATE TABLE bought AS
        SELECT *, min(ts) OVER (
            PARTITION BY user_id, product_id ORDER BY ts
            RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW
        ) AS other_ts
        FROM purchases {counted}
        """,
        """
        CREATE TABLE users AS
        SELECT user_id, row_number() OVER (ORDER BY user_id) - 1 AS user_number
        FROM (SELECT DISTINCT user_id FROM predictions)
        """,
        f"""
        CREATE TABLE scored AS
        WITH near AS (
            SELECT p.row_id, b.event_id FROM predictions p ASOF JOIN purchases b
                ON p.user_id = b.user_id AND p.product_id = b.product_id AND p.timestamp_us <= b.ts
            WHERE p.{is_purchase} AND p.event_id IS NULL AND b.ts <= p.timestamp_us + {_OWN_PURCHASE_US}
        )
        SELECT p.row_id, u.user_number, p.user_id, {_DRAWN.replace("user_id", "p.user_id")} AS drawn,
               p.product_id, p.timestamp_us, p.probability, p.arm, p.digest, p.shadow,
               coalesce(p.event_id, n.event_id) AS own_id,
               CASE WHEN b.event_id = own_id THEN b.other_ts ELSE b.ts END - p.timestamp_us AS wait_us
        FROM predictions p JOIN users u ON p.user_id = u.user_id LEFT JOIN near n ON p.row_id = n.row_id
        ASOF LEFT JOIN bought b
            ON p.user_id = b.user_id AND p.product_id = b.product_id AND p.timestamp_us < b.ts
        """,
    )
    for statement in statements:
        connection.execute(statement).fetchall()


def _is_of(senders: str | None) -> str:
    """Return SQL for whether an event counts; ``senders`` is the setting."""
    named = {
        "authenticated": f"posted_by IS DISTINCT FROM {literal(ANONYMOUS)}",
        "kafka": "posted_by IS NULL",
    }
    listed = senders.split(",") if senders else []
    return " OR ".join(named.get(each, f"posted_by = {literal(each)}") for each in listed) or "true"


def model_arms(connection: Any) -> list[ModelArm]:
    """Return every model of every arm that answered, the baseline's first."""
    rows = connection.execute(
        """
        SELECT arm, digest, bool_and(shadow), count(*) FROM scored
        GROUP BY arm, digest ORDER BY arm <> 'baseline', arm, min(timestamp_us), digest
        """
    ).fetchall()
    return [ModelArm(*row) for row in rows]


def labelled_rows(
    connection: Any, arm: ModelArm, horizon_us: int, complete_until_us: int, max_rows: int
) -> LabelledRows:
    """Return the predictions whose horizon is over, of as many users as ``max_rows`` predictions allow."""
    where = (
        f"arm = {literal(arm.arm)} AND digest = {literal(arm.digest)}"
        f" AND {horizon_is_over('timestamp_us', horizon_us, complete_until_us)}"
    )
    [(count,)] = connection.execute(f"SELECT count(*) FROM scored WHERE {where}").fetchall()
    share = min(1.0, max_rows / count) if count else 1.0
    if share < 1.0:
        where += f" AND drawn < {int(share * _SAMPLE_PARTS)}"
    table = connection.sql(
        f"""
        SELECT dense_rank() OVER (ORDER BY user_number) - 1 AS number, probability,
               {bought_within("wait_us", horizon_us)} AS label
        FROM scored WHERE {where} ORDER BY row_id
        """
    ).to_arrow_table()
    return LabelledRows(
        table["number"].to_numpy().astype(np.int64),
        table["probability"].to_numpy(),
        table["label"].to_numpy(),
        share,
    )


def _converted(horizon_us: int) -> str:
    """Return SQL of the users of ``entered`` who bought anything within the horizon.

    Purchases that predictions of the entry's instant were made at do not count.
    """
    return f"""
        SELECT DISTINCT e.user_id FROM entered e
        JOIN bought b ON e.user_id = b.user_id AND e.entry_us < b.ts AND b.ts <= e.entry_us + {horizon_us}
        ANTI JOIN scored s ON e.user_id = s.user_id AND e.entry_us = s.timestamp_us AND b.event_id = s.own_id
    """


def buyers(connection: Any, arm: ModelArm, horizon_us: int, complete_until_us: int) -> tuple[int, int]:
    """Return how many users got a first prediction, and how many of them bought anything within the horizon."""
    [(users, bought)] = connection.execute(
        f"""
        WITH entered AS (
            SELECT user_id, min(timestamp_us) AS entry_us FROM scored
            WHERE arm = {literal(arm.arm)} AND digest = {literal(arm.digest)} GROUP BY user_id
        )
        SELECT count(*), count(*) FILTER (user_id IN ({_converted(horizon_us)})) FROM entered
        WHERE {horizon_is_over("entry_us", horizon_us, complete_until_us)}
        """
    ).fetchall()
    return int(users), int(bought)


@dataclass(frozen=True, slots=True)
class ExposureWindow:
    """When predictions and purchases of a user count, in microseconds."""

    horizon_us: int  # Time after a prediction in which a purchase counts
    exposure_us: int  # Time after a user's first prediction in which further predictions count
    until_us: int  # Everything that happened until then is archived, since 1970-01-01 UTC
    early: bool = False  # Whether the horizon is shorter than the one that the models predict

    @property
    def mature_us(self) -> int:
        """Time after a user's first prediction when the user's values are final."""
        return self.exposure_us + self.horizon_us

    def is_over(self, entry: str) -> str:
        """Return SQL for whether the values of a user who entered at an instant are final."""
        return horizon_is_over(entry, self.mature_us, self.until_us)


@dataclass(frozen=True, slots=True)
class UserValues:
    """The users of a test in the order in which their values became final; arrays of one row per user."""

    mature_us: Indices  # When that was, microseconds since 1970-01-01 UTC
    strata: Indices  # Number of the period of constant shares in which the user entered
    arms: Indices  # The arm, by its place among the compared ones
    brier: Floats  # Mean squared error of the user's predictions in the arm; NaN if the arm made none
    converted: Labels  # Whether the user bought anything
    numbers: Indices  # Number of the user

    def __len__(self) -> int:
        return len(self.arms)

    def select(self, mask: Labels) -> "UserValues":
        """Return the users of a mask."""
        return UserValues(*(getattr(self, column.name)[mask] for column in fields(self)))


def enter_users(
    connection: Any, arm: str, periods_us: Sequence[tuple[int, int]], window: ExposureWindow, assigned: bool
) -> None:
    """Create the tables ``entered``, the prediction with which each user enters the test, and ``exposed``.

    ``exposed`` has the predictions that count, and ``arm`` is SQL for the compared arm of a prediction. In each of the
    periods, given by start and end, the shares were constant. A user enters once: with the first prediction of a period
    that lasts until the user's values are final. The arm is that of the table ``assigned``, if there is one, for the
    last period and for others in which that candidate answered the user; otherwise the arm that answered first.
    """
    periods = ", ".join(f"({number}, {start}, {end})" for number, (start, end) in enumerate(periods_us))
    unit = "f.first_arm"
    if assigned:
        # The baseline also answers for a pod without the candidate's bundle: only a candidate's answer shows the arm.
        answered = "a.assigned > 0 AND list_contains(f.answered, a.assigned)"
        present = f"f.stratum = {len(periods_us) - 1} OR ({answered})"
        unit = f"CASE WHEN {present} THEN a.assigned ELSE f.first_arm END"
    joined = "LEFT JOIN assigned a USING (user_number)" if assigned else ""
    statements = (
        f"""
        CREATE OR REPLACE TABLE entered AS
        WITH periods(stratum, start_us, end_us) AS (VALUES {periods}), f AS (
            SELECT user_number, any_value(user_id) AS user_id, stratum, min(timestamp_us) AS entry_us,
                   arg_min({arm}, (timestamp_us, row_id)) AS first_arm, list(DISTINCT {arm}) AS answered
            FROM scored JOIN periods ON timestamp_us >= start_us AND timestamp_us < end_us
            WHERE NOT shadow AND ({arm}) IS NOT NULL
            GROUP BY user_number, stratum, end_us HAVING min(timestamp_us) + {window.mature_us} <= end_us
        )
        SELECT f.* EXCLUDE (answered), {unit} AS unit_arm FROM f {joined}
        QUALIFY row_number() OVER (PARTITION BY user_number ORDER BY stratum) = 1
        """,
        f"""
        CREATE OR REPLACE TABLE exposed AS
        SELECT s.row_id, s.user_number, s.product_id, s.drawn, s.probability, s.wait_us, s.timestamp_us, e.entry_us,
               e.unit_arm, {arm} AS answered_by
        FROM scored s JOIN entered e USING (user_number)
        WHERE NOT s.shadow AND s.timestamp_us >= e.entry_us AND s.timestamp_us < e.entry_us + {window.exposure_us}
          AND ({arm}) IS NOT NULL
        """,
    )
    for statement in statements:
        connection.execute(statement).fetchall()


def final_user_values(connection: Any, window: ExposureWindow) -> UserValues:
    """Return the users whose values are final: their exposure and then the horizon are over."""
    bought = bought_within("wait_us", window.horizon_us)
    table = connection.sql(
        f"""
        WITH loss AS (
            SELECT user_number, avg((probability - {bought}::DOUBLE) ** 2) AS brier
            FROM exposed WHERE answered_by = unit_arm GROUP BY user_number
        )
        SELECT e.entry_us + {window.mature_us} AS mature_us, e.stratum, e.unit_arm, l.brier, e.user_number,
               e.user_id IN ({_converted(window.horizon_us)}) AS converted
        FROM entered e LEFT JOIN loss l ON l.user_number = e.user_number
        WHERE {window.is_over("e.entry_us")}
        ORDER BY mature_us, e.user_number
        """
    ).to_arrow_table()
    types = {
        "mature_us": "i8",
        "stratum": "i8",
        "unit_arm": "i8",
        "brier": "f8",
        "converted": "?",
        "user_number": "i8",
    }
    return UserValues(*(np.asarray(table[name].to_numpy(), dtype=kind) for name, kind in types.items()))


def exposed_features(connection: Any, window: ExposureWindow, max_rows: int) -> tuple[Any, float]:
    """Return a reader of the exposed predictions with their features, and the share of users that it reads.

    Its columns are ``user_number``, ``label``, ``probability``, ``answered_by`` and ``features``, as JSON.
    """
    mature = window.is_over("x.entry_us")
    [(count,)] = connection.execute(f"SELECT count(*) FROM exposed x WHERE {mature}").fetchall()
    share = min(1.0, max_rows / count) if count else 1.0
    reader = connection.sql(
        f"""
        SELECT x.user_number, {bought_within("x.wait_us", window.horizon_us)} AS label, x.probability, x.answered_by,
               p.features
        FROM exposed x JOIN predictions p USING (row_id)
        WHERE {mature} AND x.drawn < {int(share * _SAMPLE_PARTS) if share < 1 else _SAMPLE_PARTS}
        """
    ).to_arrow_reader(8_192)
    return reader, share


def shadow_scores(connection: Any, arm: str, digest: str, window: ExposureWindow, users: int) -> Floats:
    """Return the sums of ``PairedScores`` over the baseline's predictions that a shadow scored too, by user number.

    ``arm`` and ``digest`` are the shadow's; ``users`` is the number of users.
    """
    bought = bought_within("wait_us", window.horizon_us)
    table = connection.sql(
        f"""
        WITH shadowed AS (
            SELECT user_number, product_id, timestamp_us, avg(probability) AS probability
            FROM scored WHERE shadow AND arm = {literal(arm)} AND digest = {literal(digest)} GROUP BY ALL
        )
        SELECT x.user_number, count(*)::DOUBLE AS predictions,
               sum((x.probability - y) ** 2 - (shadowed.probability - y) ** 2) AS improvement,
               sum((x.probability - y) ** 2) AS baseline, sum(y) AS purchases,
               sum(4 * (x.probability - shadowed.probability) ** 2 * mean * (1 - mean)) AS variance
        FROM (SELECT *, {bought}::DOUBLE AS y FROM exposed) x
        JOIN shadowed USING (user_number, product_id, timestamp_us),
            LATERAL (SELECT (x.probability + shadowed.probability) / 2 AS mean)
        WHERE x.answered_by = 0 AND {window.is_over("x.entry_us")}
        GROUP BY x.user_number
        """
    ).to_arrow_table()
    names = ("predictions", "improvement", "baseline", "purchases", "variance")
    sums = np.zeros((len(names), users))
    sums[:, table["user_number"].to_numpy()] = [table[name].to_numpy() for name in names]
    return sums
