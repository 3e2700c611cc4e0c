"""A shop that calls purchases orders gets the same model as one that does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from reprise.event_files.options import ImportOptions
from reprise.features.request_kinds import KindColumns
from reprise.trainer.data.history import read_history
from reprise.trainer.settings import TrainerSettings
from support.hard_histories import random_history
from support.histories import event_table
from support.plans import with_other_names
from support.served_bundles import small_plan


def test_training_rows_and_kinds_of_question_are_the_same(tmp_path: Path) -> None:
    plans = {"purchase": small_plan(), "order": with_other_names(small_plan())}
    found = {}
    for name, plan in plans.items():
        assert plan.purchase_type == name
        folder, path = tmp_path / name, tmp_path / f"{name}.parquet"
        folder.mkdir()
        events = [
            replace(each, event_type=name) if each.event_type == "purchase" else each
            for each in random_history(5, 600, years=0.5)
        ]
        pq.write_table(event_table(events), path)
        settings = TrainerSettings.load(events=path, out=str(tmp_path), horizon="10d")
        found[name] = read_history(settings, plan, ImportOptions(), folder, {}).dataset
    one, other = found["purchase"], found["order"]
    for field in ("inputs", "labels", "timestamps_us", "repeat_candidates", "recency_days", "asked"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
    assert one.positives > 0
    kinds = {name: KindColumns.of(plans[name]).kinds(found[name].inputs) for name in plans}
    np.testing.assert_array_equal(kinds["purchase"], kinds["order"])
    assert set(kinds["order"]) == set(range(6))
