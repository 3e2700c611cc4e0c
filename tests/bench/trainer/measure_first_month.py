"""Measure a published model in its first month in service: the table of docs/model.md.

    PYTHONPATH=tests python tests/bench/trainer/measure_first_month.py SEED START [--posterior]

A shop of datagen with this seed runs for 240 days from START. A model is trained on the first 180 days as
`reprise train` does it, and judged on the next 30; the last 30 complete the labels. Requests about all pairs
bought before are scored by `reprise score` at two instants. It takes about two minutes. With `--posterior` the
posterior oracle and boosted trees on it are measured too.
"""

import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from bench.trainer.measure_forest_size import HORIZON, read
from bench.trainer.measure_posterior import posterior_of, print_posterior
from reprise import sql
from reprise.cli.main import command
from reprise.evaluation.classification_metrics import Floats, RankedPredictions
from reprise.features.plan import Plan
from reprise.features.request_kinds import KINDS, KindColumns
from reprise.shop.config import ShopConfig
from reprise.shop.population import Population
from reprise.trainer.model.onnx_graph import score_rows
from reprise.trainer.pipeline import train
from reprise.trainer.settings import TrainerSettings

PLAN = Path("feature_repo/plan/plan.json")


def main() -> None:
    seed, start = sys.argv[1], datetime.fromisoformat(f"{sys.argv[2]}T00:00:00+00:00")
    end = start + timedelta(days=180)
    plan = Plan.load(PLAN)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events, truth, known = (folder / f"{each}.parquet" for each in ("events", "truth", "known"))
        options = ["--seed", seed, "--days", "240", "--start", sys.argv[2], "--truth", str(truth)]
        command(["datagen", str(events), *options], standalone_mode=False)
        with sql.connect() as connection:
            query = f"COPY (FROM '{events}' WHERE timestamp < '{end.isoformat()}') TO '{known}'"
            connection.execute(query)
        settings = TrainerSettings.load(events=known, out=str(folder / "models"), plan=PLAN)
        model = train(settings).run.model.published
        idle = [scores_of_all_pairs(folder, events, end + timedelta(days=days)) for days in (0, 15)]
        rows, _ = read(events, truth, plan)
        first_us = int(end.timestamp() * 1e6)
        month = (rows.timestamps_us >= first_us) & (rows.timestamps_us < first_us + 30 * 86_400_000_000)
        rows = rows.subset(month)
        if "--posterior" in sys.argv:
            products = Population(ShopConfig(seed=int(seed))).products
            horizon_us = int(HORIZON / timedelta(microseconds=1))
            posterior = posterior_of(
                rows.at_events, events, products, int(start.timestamp() * 1e6), horizon_us
            )
    scores = score_rows(model.scorer, rows.inputs)
    assert rows.truth is not None
    print(f"seed {seed}, days 181 to 210 from {sys.argv[2]}")
    for title, part in (
        ("all requests at events", rows.are_at_events),
        ("repeat candidates", rows.are_at_events & rows.repeat_candidates),
    ):
        own, oracle = (roc_auc_score(rows.labels[part], each[part]) for each in (scores, rows.truth))
        print(f"  ROC AUC, {title}: {own:.4f}, oracle {oracle:.4f}, {(own - 0.5) / (oracle - 0.5):.3f} of it")
    kinds = np.array(KINDS)[KindColumns.of(plan).kinds(rows.inputs)]
    before, after = (rows.asked == number for number in range(2))
    purchase, view = np.char.endswith(kinds, "purchase"), np.char.endswith(kinds, " event")
    for title, part in (
        ("views", before & view),
        ("purchases, before they are stored", before & purchase),
        ("purchases, after they are stored", after & purchase),
    ):
        print_calibration(title, rows.labels[part], scores[part], rows.truth[part])
    for days, pairs in zip((0, 15), idle, strict=True):
        print_calibration(f"idle, all pairs bought before, {days} days after the training", *pairs)
    if "--posterior" in sys.argv:
        asked = rows.are_at_events
        print_posterior(rows.at_events, purchase[asked], scores[asked], posterior)


def scores_of_all_pairs(folder: Path, events: Path, at: datetime) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Whether each pair bought before an instant is bought again in the horizon, and the model's probability."""
    out = folder / at.date().isoformat()
    options = ["--events", str(events), "--at", at.isoformat(), "--model-store", str(folder / "models")]
    command(["score", "--out", str(out), *options], standalone_mode=False)
    with sql.connect() as connection:
        pairs = connection.execute(
            f"""
            SELECT probability, (user_id, product_id) IN (
                SELECT (user_id, product_id) FROM '{events}'
                WHERE event_type = 'purchase' AND timestamp > '{at.isoformat()}'::TIMESTAMPTZ
                    AND timestamp <= '{(at + HORIZON).isoformat()}'::TIMESTAMPTZ
            ) AS bought FROM '{out}/*/*/*.parquet'
            """
        ).fetchnumpy()
    return pairs["bought"], pairs["probability"].astype(np.float64)


def print_calibration(
    title: str, labels: npt.NDArray[np.bool_], probabilities: Floats, truth: Floats | None = None
) -> None:
    """Print the calibration error; with ``truth``, the oracle's probabilities, also the error against these.

    The latter has no chance of labels in it, and the same tenths of the rows.
    """

    ranked = RankedPredictions.of(labels, probabilities)
    known = ""
    if truth is not None:
        error = sum(abs((truth - probabilities)[rows].sum()) for rows in ranked.bins) / len(truth)
        known = f" (against the oracle {error:.3f}), oracle {truth.mean():.3f}"
    print(
        f"  {title}: {len(labels):,} requests, ECE {ranked.metrics().calibration_error:.3f}{known},"
        f" mean probability {probabilities.mean():.3f}, share bought {labels.mean():.3f}"
    )


if __name__ == "__main__":
    main()
