"""How well the evaluated model ranks the products that a user bought before, against rankings without a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reprise import sql
from reprise.evaluation.buy_again_baselines import BuyAgainBaselines, PairHistories
from reprise.evaluation.classification_metrics import Floats
from reprise.evaluation.cluster_bootstrap import Interval
from reprise.evaluation.ranking_metrics import compare_rankings
from reprise.features.accumulators import MICROSECONDS_PER_DAY
from reprise.features.executors.batch import BatchExecutor
from reprise.features.parity.comparison import batch_inputs
from reprise.features.plan import Plan
from reprise.runtime.durations import microseconds
from reprise.trainer.evaluation.held_out import MODEL
from reprise.trainer.settings import TrainerSettings

_USERS = 2_000
_LISTED = 100  # If the plan has no list of products
_COLUMNS = ("purchases", "days_since_first", "days_since_last", "intervals", "log_days", "squared_log_days")


@dataclass(frozen=True, slots=True)
class BuyAgainReport:
    """Rankings at one instant, of users with two products or more who bought one of them again within the horizon."""

    instant_us: int
    users: int
    products: int  # Products of all lists together
    # By ranking and metric its mean over users, and the model's lead over it
    rankings: Mapping[str, Mapping[str, tuple[Interval, Interval]]]

    def not_behind(self, metric: str) -> list[str]:
        """Return the rankings that the model is not shown to be ahead of."""
        others = ((name, found[metric][1]) for name, found in self.rankings.items() if name != MODEL)
        return [name for name, lead in others if not lead.lower > 0]


def evaluate_buy_again(
    events: Path,
    plan: Plan,
    score: Callable[[npt.NDArray[np.float32]], Floats],
    instant_us: int,
    settings: TrainerSettings,
    folder: Path,
) -> BuyAgainReport | None:
    """Rank the products of at most 2,000 users, drawn by a hash of their ids, by idle requests at the instant.

    ``events`` is canonical Parquet. ``score`` returns the evaluated model's probabilities of rows of inputs. A list
    has the products with the latest purchases, as many as the plan's list. The baselines are fitted on all
    purchases before the instant. None if no user bought again.
    """
    horizon, memory = settings.default_horizon, settings.memory_limit
    with sql.connect(memory_limit=memory, temp_directory=folder) as connection:
        source = f"read_parquet({sql.literal(events)})"
        table = connection.sql(_pairs(source, plan, instant_us, microseconds(horizon))).to_arrow_table()
    judged = table["judged"].to_numpy()
    if not judged.any():
        return None
    columns = (table[name].cast(pa.float64()).to_numpy() for name in _COLUMNS)
    pairs = PairHistories(table["product"].to_numpy().astype(np.int64), *columns)
    lists = table.filter(table["judged"])
    requests = pa.table(
        {
            "row_id": np.arange(len(lists)),
            "user_id": lists["user_id"],
            "product_id": lists["product_id"],
            "timestamp_us": np.full(len(lists), instant_us),
            "amount": pa.nulls(len(lists), pa.float64()),
            "is_purchase": pa.nulls(len(lists), pa.float64()),
        }
    )
    with BatchExecutor(plan, memory_limit=memory, temp_directory=folder) as executor:
        executor.load_events(events, before_us=instant_us)
        inputs = batch_inputs(executor, plan, requests)
    baselines = BuyAgainBaselines.fit(pairs).scores(pairs.subset(judged), horizon / timedelta(days=1))
    scores = {MODEL: score(inputs.astype(np.float32)), **baselines}
    names, users = np.unique(lists["user_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    return BuyAgainReport(
        instant_us, len(names), len(lists), compare_rankings(users, lists["label"].to_numpy(), scores)
    )


def _pairs(source: str, plan: Plan, instant_us: int, horizon_us: int) -> str:
    """Return the query of all pairs bought before the instant: their histories, and which of them are ranked."""
    products = plan.user.latest_products
    limit = _LISTED if products is None else products.spec["limit"]
    past = f"FILTER (WHERE t < {instant_us})"
    intervals = f"FILTER (WHERE t < {instant_us} AND days > 0)"
    return f"""
    WITH instants AS (
        SELECT user_id, product_id, epoch_us(timestamp) AS t FROM {source}
        WHERE event_type = {sql.literal(plan.purchase_type)}
    ), bought AS (
        SELECT *, (t - lag(t) OVER (PARTITION BY user_id, product_id ORDER BY t)) / {MICROSECONDS_PER_DAY} AS days
        FROM instants
    ), pairs AS (
        SELECT user_id, product_id, count(*) {past} AS purchases,
            ({instant_us} - min(t)) / {MICROSECONDS_PER_DAY} AS days_since_first,
            ({instant_us} - max(t) {past}) / {MICROSECONDS_PER_DAY} AS days_since_last,
            count(*) {intervals} AS intervals,
            coalesce(sum(ln(days)) {intervals}, 0) AS log_days,
            coalesce(sum(ln(days) ** 2) {intervals}, 0) AS squared_log_days,
            bool_or(t > {instant_us} AND t <= {instant_us + horizon_us}) AS label
        FROM bought GROUP BY user_id, product_id HAVING purchases > 0
    ), numbered AS (
        SELECT *, dense_rank() OVER (ORDER BY product_id) - 1 AS product,
            row_number() OVER (PARTITION BY user_id ORDER BY days_since_last, product_id) <= {limit} AS listed
        FROM pairs
    ), drawn AS (
        SELECT user_id FROM numbered WHERE listed GROUP BY user_id
        HAVING count(*) > 1 AND bool_or(label) ORDER BY md5(user_id) LIMIT {_USERS}
    )
    SELECT numbered.*, listed AND drawn.user_id IS NOT NULL AS judged
    FROM numbered LEFT JOIN drawn USING (user_id) ORDER BY user_id, product_id
    """
