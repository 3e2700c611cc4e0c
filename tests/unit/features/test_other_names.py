"""A shop that calls purchases orders gets the same model as one that does not."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.event_files.options import ImportOptions
from reprise.features.discovery.candidates import assemble, discover
from reprise.features.request_kinds import KindColumns
from reprise.trainer.data.history import read_history
from reprise.trainer.settings import TrainerSettings
from support.hard_histories import random_history
from support.histories import event_table
from support.plans import REPOSITORY, with_other_names
from support.served_bundles import small_plan


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same events, with purchases of either name."""
    folder = tmp_path_factory.mktemp("histories")
    table = event_table(random_history(5, 600, years=0.5))
    paths = {}
    for name in ("purchase", "order"):
        kinds = [name if kind == "purchase" else kind for kind in table["event_type"].to_pylist()]
        at = table.schema.get_field_index("event_type")
        paths[name] = folder / f"{name}.parquet"
        pq.write_table(table.set_column(at, "event_type", pa.array(kinds)), paths[name])
    return paths


def test_training_rows_and_kinds_of_question_are_the_same(histories: dict[str, Path], tmp_path: Path) -> None:
    plans = {"purchase": small_plan(), "order": with_other_names(small_plan())}
    found = {}
    for name, plan in plans.items():
        assert plan.purchase_type == name
        folder = tmp_path / name
        folder.mkdir()
        settings = TrainerSettings.load(events=histories[name], out=str(tmp_path), horizon="10d")
        found[name] = read_history(settings, plan, ImportOptions(), folder, {}).dataset
    one, other = found["purchase"], found["order"]
    for field in ("inputs", "labels", "timestamps_us", "repeat_candidates", "recency_days", "asked"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
    assert one.positives > 0
    kinds = {name: KindColumns.of(plans[name]).kinds(found[name].inputs) for name in plans}
    np.testing.assert_array_equal(kinds["purchase"], kinds["order"])
    assert set(kinds["order"]) == set(range(6))


def test_definition_may_name_event_types_and_frames_as_it_likes(tmp_path: Path) -> None:
    text = (REPOSITORY / "definitions.py").read_text().replace("purchases", "orders")
    text = text.replace('"view": "views", "purchase"', '"view": "pageviews", "order"')
    namespace: dict[str, object] = {}
    exec(compile(text, "definitions.py", "exec"), namespace)
    definition = namespace["DEFINITION"]
    plan = assemble(definition, [each for each in discover(definition).candidates if each.named])
    assert (plan.purchase_frame, plan.purchase_type) == ("orders", "order")
    assert KindColumns.of(plan) != KindColumns()
