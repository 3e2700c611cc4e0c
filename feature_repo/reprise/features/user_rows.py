"""Rows of users: what is known of a user at an instant without an event, and when the user next buys anything.

A row is of a user with a purchase strictly before its instant. The inputs are those of the plan's user entity, whose
state depends on the user's own events alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from reprise import sql
from reprise.events.event import ERASED_PREFIX
from reprise.features.accumulators import MICROSECONDS_PER_DAY
from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.plan_executor import EventsSummary, PlanExecutor
from reprise.features.feature_functions import FloatArray
from reprise.features.labels import Outcome, refunded_purchases
from reprise.features.plan import Plan

_KEYS = float(2**60)
_MOST_ROWS = 3
"""Most sampled rows of a user in one horizon; more would hardly differ."""


def user_plan(plan: Plan) -> Plan:
    """Return the plan with the inputs of the user entity only."""
    product, pair = (replace(entity, inputs=(), operands=()) for entity in (plan.product, plan.pair))
    return replace(plan, product=product, pair=pair, request_inputs=())


class UserRows(AbstractContextManager["UserRows"]):
    """Rows of the users with a purchase in a file of canonical events; a context manager.

    Rows are a table of ``user_id`` and ``ts``, microseconds, in the order of ``ts`` and ``user_id``. Erased users are
    left out.

    Args:
        plan: A plan; its user inputs are computed.
        events: Parquet of canonical events; DuckDB spills next to it.
        before_us: Events at this instant and later are left out.
        refund_us: A purchase that is returned within this time is not bought; 0 if all count.
        max_users: Users beyond this number are left out, chosen by a hash of their ids.
        memory_limit: Memory limit of DuckDB, and of Spark's driver.
        open_executor: ``BatchExecutor``, or another of ``executor_opener``, which computes the inputs.

    Raises:
        NotEnoughEventsError: There are no events.
    """

    def __init__(
        self,
        plan: Plan,
        events: Path,
        *,
        before_us: int | None = None,
        refund_us: int = 0,
        max_users: int | None = None,
        memory_limit: str = sql.MEMORY_LIMIT,
        open_executor: Callable[..., PlanExecutor] = BatchExecutor,
    ) -> None:
        spill = events.parent / "spill"
        with ExitStack() as resources:
            self._connection = resources.enter_context(
                closing(sql.connect(memory_limit=memory_limit, temp_directory=spill))
            )
            self._executor = resources.enter_context(
                open_executor(user_plan(plan), memory_limit=memory_limit, temp_directory=events.parent)
            )
            self._load(plan.purchase_type, events, before_us, refund_us, max_users)
            self._resources = resources.pop_all()

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _load(
        self, purchase_type: str, events: Path, before_us: int | None, refund_us: int, max_users: int | None
    ) -> None:
        past = "true" if before_us is None else f"epoch_us(timestamp) < {before_us}"
        rows = sql.first_of_each_id(sql.numbered_rows(events))
        distinct = f"(SELECT *, epoch_us(timestamp) AS ts FROM {rows})"
        refunded = "SELECT ''::VARCHAR AS event_id WHERE false"
        if refund_us:
            refunded = refunded_purchases(distinct, Outcome(purchase_type, refund_us))
        chosen = "" if max_users is None else f"ORDER BY {sql.event_key('user_id')} LIMIT {max_users}"
        # Another hash than that which chooses: its smallest values are not uniform
        place = sql.event_key("'place' || chr(0) || user_id")
        self._connection.execute(
            f"""
            CREATE TEMP TABLE all_purchases AS
            SELECT user_id, ts, CAST(amount AS DOUBLE) AS amount,
                   event_id NOT IN (SELECT event_id FROM ({refunded})) AS kept
            FROM {distinct} WHERE event_type = {sql.literal(purchase_type)} AND {past}
                AND NOT starts_with(user_id, {sql.literal(ERASED_PREFIX)});
            CREATE TEMP TABLE buyers AS
            SELECT user_id, min(ts) AS first_us, {place} / {_KEYS!r} AS place
            FROM all_purchases GROUP BY user_id {chosen};
            CREATE TEMP TABLE purchases AS SELECT * FROM all_purchases SEMI JOIN buyers USING (user_id);
            CREATE TEMP TABLE running AS
            SELECT DISTINCT user_id, ts, count(*) OVER (PARTITION BY user_id ORDER BY ts) AS purchases
            FROM purchases
            """
        )
        [(users, left)] = self._connection.execute(
            "SELECT count(*), (SELECT count(DISTINCT user_id) FROM all_purchases) - count(*) FROM buyers"
        ).fetchall()
        self.users = int(users)
        if left:
            kept = events.parent / "user-events.parquet"
            query = (
                f"SELECT * EXCLUDE (file_row_number) FROM {sql.numbered_rows(events)}"
                " SEMI JOIN buyers USING (user_id) ORDER BY file_row_number"
            )
            sql.copy_to_parquet(self._connection, query, kept)
            events = kept
        self._executor.load_events(events, before_us=before_us)

    def summary(self) -> EventsSummary:
        """Return what is loaded, of the types that make features."""
        return self._executor.summary()

    def sampled(self, start_us: int, end_us: int, horizon_us: int, max_rows: int) -> pa.Table:
        """Return rows at instants within [start, end): at any of them all users with a purchase are equally likely.

        Each user has a systematic sample, from an offset that is the hash of the id: at most three rows in a horizon,
        and about ``max_rows`` in all.
        """
        return self._connection.sql(
            f"""
            WITH spans AS (
                SELECT user_id, place, greatest(first_us + 1, {start_us}) AS opens
                FROM buyers WHERE first_us + 1 < {end_us}
            ),
            periods AS (
                SELECT *, greatest(sum({end_us} - opens) OVER () / {max_rows}, {horizon_us / _MOST_ROWS}) AS period
                FROM spans
            ),
            numbers AS (
                SELECT *, unnest(range(
                    ceil((opens - {start_us}) / period - place)::BIGINT,
                    ceil(({end_us} - {start_us}) / period - place)::BIGINT
                )) AS number
                FROM periods
            )
            SELECT user_id, {start_us} + ((number + place) * period)::BIGINT AS ts FROM numbers ORDER BY ts, user_id
            """
        ).to_arrow_table()

    def buyers(self, instants: Sequence[int]) -> pa.Table:
        """Return a row for every user with a purchase before each of the instants."""
        values = ", ".join(f"({instant})" for instant in instants)
        return self._connection.sql(
            f"SELECT user_id, ts FROM buyers, (VALUES {values}) AS instants(ts) WHERE first_us < ts"
            " ORDER BY ts, user_id"
        ).to_arrow_table()

    def past(self, rows: pa.Table) -> pa.Table:
        """Return the rows with the user's past and future.

        The number of ``purchases`` and the last, ``last_us``, are strictly before the instant. ``next_us`` is the next
        purchase after it, null if there is none.
        """
        self._connection.register("given_rows", rows)
        return self._connection.sql(
            """
            SELECT r.user_id, r.ts, p.purchases, p.ts AS last_us, n.ts AS next_us
            FROM given_rows r
            ASOF JOIN running p ON r.user_id = p.user_id AND r.ts > p.ts
            ASOF LEFT JOIN (SELECT DISTINCT user_id, ts FROM purchases WHERE kept) n
                ON r.user_id = n.user_id AND r.ts < n.ts
            ORDER BY r.ts, r.user_id
            """
        ).to_arrow_table()

    def purchase_patterns(self, at_us: int, horizon_us: int) -> pa.Table:
        """Return how each user buys, by ``user_id``, from all that is loaded, which is before the instant.

        ``gap_days`` is the median time between days with a purchase, null with one such day. ``value`` is the spend in
        a horizon with a purchase; horizons are counted back from the instant. Returned purchases are not in it. It
        is null if no amount is known.
        """
        return self._connection.sql(
            f"""
            SELECT user_id, gap_days, spend / horizons AS value FROM (
                SELECT user_id, sum(amount ORDER BY amount) AS spend,
                       count(DISTINCT ({at_us} - 1 - ts) // {horizon_us}) AS horizons
                FROM purchases WHERE kept GROUP BY user_id
            ) RIGHT JOIN (
                SELECT user_id, median(gap) AS gap_days FROM (
                    SELECT user_id, day - lag(day) OVER (PARTITION BY user_id ORDER BY day) AS gap
                    FROM (SELECT DISTINCT user_id, ts // {MICROSECONDS_PER_DAY} AS day FROM purchases)
                ) GROUP BY user_id
            ) USING (user_id) ORDER BY user_id
            """
        ).to_arrow_table()

    def inputs(self, rows: pa.Table) -> Iterator[FloatArray]:
        """Yield the inputs of the rows in batches, in order; shape (rows, user inputs), NaN where missing."""
        ids = rows["user_id"].combine_chunks()
        unknown = pa.nulls(len(rows), pa.float64())
        requests = pa.table(
            {
                "row_id": pa.array(range(len(rows)), pa.int64()),
                "user_id": ids,
                "product_id": ids,  # No user input is of a product
                "timestamp_us": rows["ts"].combine_chunks(),
                "amount": unknown,
                "is_purchase": unknown,
            }
        )
        if len(rows):
            for _, inputs in self._executor.with_inputs(self._executor.request_rows(requests)):
                yield inputs
