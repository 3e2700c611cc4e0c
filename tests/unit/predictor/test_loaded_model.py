from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from reprise.bundle import Bundle, BundleFiles, BundleStore
from reprise.predictor.exceptions import ModelRefusedError, PlanMismatchError
from reprise.predictor.services.bundle_loader import load_bundle
from reprise.store.reader import OnlineRow, RowBlock
from support.served_bundles import bundle_files, logistic_graph, small_plan

NAMES = small_plan().input_names
VERDICT = {
    "threshold": None, "edges": [], "confidences": [0.9], "pooled": False, "true_positives": 0, "false_positives": 0,
    "true_negatives": 9, "false_negatives": 1,
}  # fmt: skip


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
    model.graph.node[-2].CopyFrom(helper.make_node("Identity", ["logit"], ["scores"]))
    model.graph.initializer[1].CopyFrom(helper.make_tensor("bias", TensorProto.FLOAT, [], [1.5]))


def with_another_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "score"
    model.graph.node[-1].output[0] = "score"


def with_another_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "rows"
    model.graph.node[0].input[0] = "rows"
    model.graph.node[1].input[2] = "rows"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"plan": {"format": 99}}, "plan: .* 99"),
        ({"verdicts": {"whenever": VERDICT}}, "verdicts: expected first event, .*; got whenever"),
        ({"plan_hash": "0" * 64}, f"plan_hash: .* {'0' * 64}"),
        ({"schema_hash": "1" * 64}, "schema_hash: .* 111"),
        ({"inputs": [{"name": name} for name in reversed(NAMES)]}, "input 0: .* request"),
        ({"inputs": [{"name": name} for name in NAMES[:-1]]}, "inputs?: "),
        ({"graph": b"no graph"}, "no ONNX model"),
        ({"graph": changed_graph(of_future_opset)}, "cannot run the graph"),
        ({"graph": changed_graph(with_another_input)}, "inputs are rows; .* inputs"),
        ({"graph": changed_graph(with_another_output)}, "outputs are score; .* probability"),
        ({"graph": changed_graph(without_sigmoid)}, "expected the same probability"),
        ({"graph": logistic_graph({}, 0.0, NAMES[:-1])}, r"expected tensor\(float\) \[rows, 8\], got .* 7\]"),
    ],
)
def test_bundle_whose_parts_do_not_fit_is_refused_with_the_reason(
    tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    bundle = bundle_of(tmp_path, bundle_files(**overrides))
    with pytest.raises(ModelRefusedError, match=message):
        load_bundle(bundle, "reprise")


def test_unknown_entity_has_the_empty_state_and_a_known_one_its_own(tmp_path: Path) -> None:
    user = load_bundle(bundle_of(tmp_path, bundle_files()), "reprise").user
    fields = ["purchases_amount_n", "purchases_amount_sum", "purchases_last_us", "pairs_bought_again_sum"]
    assert [field.name for field in user.codec.view.fields] == fields
    nothing: list[float | int | None] = [None] * 4
    row: list[float | int | None] = [1, 5.0, 1000, 0.0]
    assert user.of_row(OnlineRow(nothing, known=False)) == (0, 0.0, None, 0.0)
    assert user.of_row(OnlineRow(row, known=True)) == row
    block = RowBlock(np.array([nothing, row], np.float64), np.array([False, True]))
    np.testing.assert_array_equal(user.of_block(block), np.array([[0, 0, np.nan, 0], row], np.float64))


def test_null_where_the_plan_writes_a_number_names_view_and_field(tmp_path: Path) -> None:
    user = load_bundle(bundle_of(tmp_path, bundle_files()), "reprise").user
    foreign: list[float | int | None] = [1, 5.0, 1000, None]
    with pytest.raises(PlanMismatchError, match=r"user_state\.pairs_bought_again_sum is null"):
        user.of_row(OnlineRow(foreign, known=True))
    with pytest.raises(PlanMismatchError, match=r"user_state\.pairs_bought_again_sum is null"):
        user.of_block(RowBlock(np.array([foreign], np.float64), np.array([True])))
