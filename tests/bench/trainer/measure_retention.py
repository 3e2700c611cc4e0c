"""Measure the users' model against BG/NBD on the same users, at the instant at which its evaluation begins.

    reprise datagen --out history.parquet --seed 4711 --end 2026-11-01
    reprise train --events history.parquet --out models
    PYTHONPATH=tests python tests/bench/trainer/measure_retention.py history.parquet models

BG/NBD is fitted on the purchases before that instant, nearer ones than the evaluated model has learnt from. Its
purchases are days with one, because it knows no two at once.
"""

import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from reprise import sql
from reprise.bundle import BundleStore
from reprise.bundle.scorer import Scorer
from reprise.evaluation.classification_metrics import RankedPredictions
from reprise.evaluation.cluster_bootstrap import bootstrap
from reprise.features.plan import Plan
from reprise.features.user_rows import UserRows
from reprise.runtime.durations import EPOCH, microseconds
from support.bg_nbd import fit_bg_nbd

DAY_US = 86_400_000_000


def purchase_days(events: Path, purchase_type: str, at: datetime) -> pa.Table:
    """Return each user's first, last and number of days with a purchase before the instant, by user."""
    with sql.connect() as connection:
        return connection.sql(
            """
            SELECT user_id, min(day) AS first, max(day) AS last, count(*) AS count FROM (
                SELECT DISTINCT user_id, epoch_us(timestamp) // 86400000000 AS day
                FROM read_parquet($1) WHERE event_type = $2 AND timestamp < $3
            ) GROUP BY user_id ORDER BY user_id
            """,
            params=[str(events), purchase_type, at],
        ).to_arrow_table()


def main() -> None:
    store = BundleStore(sys.argv[2])
    bundle = store.fetch(store.latest())
    manifest, graphs = bundle.manifest, store.user_models(bundle)
    assert graphs is not None
    assert manifest.users is not None
    plan, at = Plan.from_dict(manifest.plan), datetime.fromisoformat(manifest.data.evaluation.start)
    at_us, horizon_us = microseconds(at - EPOCH), manifest.horizon_seconds * 1_000_000
    with UserRows(plan, Path(sys.argv[1])) as rows:
        buyers = rows.buyers([at_us])
        past, inputs = rows.past(buyers), np.concatenate(list(rows.inputs(buyers)))
    days = purchase_days(Path(sys.argv[1]), plan.purchase_type, at)
    scorer = Scorer(graphs[1], manifest.model.input, manifest.model.output, manifest.users.inputs)
    model = scorer.score(inputs).astype(np.float64)
    first, last, count = (days[name].to_numpy().astype(np.float64) for name in ("first", "last", "count"))
    history = (count - 1, last - first, at_us / DAY_US - first)
    fitted = fit_bg_nbd(*history)
    other = fitted.probability(*history, horizon_us / DAY_US)
    wait = past["next_us"].cast("float64").to_numpy() - at_us
    bought = wait <= horizon_us
    ranked = {
        name: RankedPredictions.of(bought, each) for name, each in (("model", model), ("BG/NBD", other))
    }
    print(f"{len(buyers):,} users at {at:%Y-%m-%d}, {np.mean(bought):.1%} bought; {fitted}")
    for name, each in ranked.items():
        metrics = each.metrics()
        print(
            f"{name:<8} ROC AUC {metrics.roc_auc:.4f}  Brier {metrics.brier:.4f}"
            f"  calibration error {metrics.calibration_error:.4f}  mean probability {metrics.mean_probability:.1%}"
        )

    def gains(weights: np.ndarray | None) -> dict[str, float]:
        mine, theirs = (each.metrics(weights) for each in ranked.values())
        return {"ROC AUC": mine.roc_auc - theirs.roc_auc, "Brier": theirs.brier - mine.brier}

    for name, gain in bootstrap(gains, np.arange(len(buyers)), draws=200, seed=1).items():
        print(f"the model is ahead in {name} by {gain.value:+.4f} ({gain.lower:+.4f} to {gain.upper:+.4f})")


if __name__ == "__main__":
    main()
