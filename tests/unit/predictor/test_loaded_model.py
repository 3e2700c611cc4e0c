import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from reprise.bundle import Bundle, BundleFiles, BundleStore
from reprise.predictor.exceptions import ForeignStateError, ModelRefusedError
from reprise.predictor.models.loaded_model import make_ready
from reprise.predictor.services.onnx_scorer import Model
from reprise.store.reader import OnlineRow, RowBlock
from support.served_bundles import bundle_files, logistic_graph, small_plan

NAMES = small_plan().input_names


def bundle_of(tmp_path: Path, files: BundleFiles) -> Bundle:
    store = BundleStore(str(tmp_path))
    return store.fetch(store.publish(files))


def changed_graph(change: Callable[[onnx.ModelProto], None]) -> bytes:
    model = onnx.load_from_string(logistic_graph({}, 0.0, NAMES))
    change(model)
    data: bytes = model.SerializeToString()
    return data


def of_future_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def without_sigmoid(model: onnx.ModelProto) -> None:
    model.graph.node[5].CopyFrom(helper.make_node("Identity", ["logit"], ["scores"]))
    model.graph.initializer[1].CopyFrom(helper.make_tensor("bias", TensorProto.FLOAT, [], [1.5]))


def with_another_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "rows"
    model.graph.node[0].input[0] = "rows"
    model.graph.node[1].input[2] = "rows"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"plan": {"format": 99}}, "plan: plan format 99 is not 1"),
        ({"plan_hash": "0" * 64}, f"plan_hash: the manifest says {'0' * 64}, its plan has"),
        ({"schema_hash": "1" * 64}, "schema_hash: the manifest says 111"),
        (
            {"inputs": [{"name": name} for name in reversed(NAMES)]},
            "inputs: at position 0 the manifest has 'request",
        ),
        ({"graph": b"no graph"}, "cannot run the graph"),
        ({"graph": changed_graph(of_future_opset)}, "cannot run the graph"),
        ({"graph": changed_graph(with_another_input)}, "the graph takes rows; the manifest says inputs"),
        ({"graph": changed_graph(without_sigmoid)}, "expected the same probability"),
        ({"graph": logistic_graph({}, 0.0, NAMES[:-1])}, r"expected tensor\(float\) \[rows, 8\], got .* 7\]"),
    ],
)
def test_bundle_whose_parts_do_not_fit_is_refused_with_the_reason(
    tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    bundle = bundle_of(tmp_path, bundle_files(**overrides))
    with pytest.raises(ModelRefusedError, match=message):
        make_ready(bundle, "reprise")


def test_output_that_the_manifest_promises_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match="the graph gives probability; the manifest says score"):
        Model(logistic_graph({}, 0.0, NAMES), "inputs", "score", len(NAMES))


def test_one_row_and_many_give_the_same() -> None:
    model = Model(logistic_graph({"total_spend": 0.5}, -1.0, NAMES), "inputs", "probability", len(NAMES))
    rows = np.random.default_rng(1).normal(size=(50, len(NAMES)))
    rows[3, :] = math.nan
    together = model.predict_many(rows)
    assert together.shape == (50,)
    for row, score in zip(rows.tolist(), together, strict=True):
        assert model.predict_one(row) == pytest.approx(float(score), abs=1e-6)


def test_row_after_another_is_not_influenced_by_it() -> None:
    model = Model(logistic_graph({"total_spend": 1.0}, 0.0, NAMES), "inputs", "probability", len(NAMES))
    first = model.predict_one([3.0] + [math.nan] * 7)
    assert model.predict_one([math.nan] * 8) == 0.5
    assert model.predict_one([3.0] + [math.nan] * 7) == first


def test_unknown_entity_has_the_empty_state_and_a_known_one_its_own(tmp_path: Path) -> None:
    user = make_ready(bundle_of(tmp_path, bundle_files()), "reprise").user
    fields = ["purchases_amount_n", "purchases_amount_sum", "purchases_last_us", "pairs_bought_again_sum"]
    assert [field.name for field in user.codec.view.fields] == fields
    nothing: list[float | int | None] = [None] * 4
    row: list[float | int | None] = [1, 5.0, 1000, 0.0]
    assert user.one(OnlineRow(nothing, known=False)) == (0, 0.0, None, 0.0)
    assert user.one(OnlineRow(row, known=True)) == row
    block = RowBlock(np.array([nothing, row], np.float64), np.array([False, True]))
    np.testing.assert_array_equal(user.many(block), np.array([[0, 0, np.nan, 0], row], np.float64))


def test_null_where_the_plan_writes_a_number_names_view_and_field(tmp_path: Path) -> None:
    user = make_ready(bundle_of(tmp_path, bundle_files()), "reprise").user
    foreign: list[float | int | None] = [1, 5.0, 1000, None]
    with pytest.raises(ForeignStateError, match=r"user_state\.pairs_bought_again_sum is null"):
        user.one(OnlineRow(foreign, known=True))
    with pytest.raises(ForeignStateError, match=r"user_state\.pairs_bought_again_sum is null"):
        user.many(RowBlock(np.array([foreign], np.float64), np.array([True])))
