"""The ONNX graph of a forest with its calibration, exact for float32 inputs."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestClassifier

from reprise.bundle.scorer import Scorer
from reprise.trainer.exceptions import GraphMismatchError
from reprise.trainer.model.beta_calibration import CLIP, BetaCalibration
from reprise.trainer.model.forest import Floats, Matrix, score_forest, score_in_chunks

INPUT = "inputs"
OUTPUT = "probability"
OPSETS = {"": 18, "ai.onnx.ml": 3}
TOLERANCE = 1e-5
"""Largest difference between ONNX Runtime and scikit-learn with which a bundle is published."""
_IR_VERSION = 8
_SINGLE_ROWS = 256


def build_graph(forest: RandomForestClassifier, calibration: BetaCalibration) -> bytes:
    """Return the ONNX model: float32 ``inputs`` [rows, inputs] to float32 ``probability`` [rows].

    Its bytes depend only on the forest and the calibration.
    """
    trees = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        ["votes"],
        domain="ai.onnx.ml",
        name="forest",
        n_targets=1,
        aggregate_function="AVERAGE",
        post_transform="NONE",
        **_flatten(forest),
    )
    nodes, initializers = _calibration(calibration)
    graph = helper.make_graph(
        [trees, *nodes],
        "reprise",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", forest.n_features_in_])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows"])],
        initializers,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="reprise", producer_version=""
    )
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _calibration(calibration: BetaCalibration) -> tuple[list[Any], list[Any]]:
    """Return the nodes from ``votes`` [rows, 1] to the output, and the constants they use."""
    constants = {
        "lowest": CLIP,
        "highest": 1.0 - CLIP,
        "one": 1.0,
        "a": calibration.a,
        "b": calibration.b,
        "c": calibration.c,
    }
    initializers = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "column"))
    nodes = [
        helper.make_node("Clip", ["votes", "lowest", "highest"], ["score"]),
        helper.make_node("Log", ["score"], ["log_score"]),
        helper.make_node("Sub", ["one", "score"], ["rest"]),
        helper.make_node("Log", ["rest"], ["log_rest"]),
        helper.make_node("Mul", ["a", "log_score"], ["a_term"]),
        helper.make_node("Mul", ["b", "log_rest"], ["b_term"]),
        helper.make_node("Sub", ["a_term", "b_term"], ["slope"]),
        helper.make_node("Add", ["slope", "c"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["sigmoid"]),
        helper.make_node("Squeeze", ["sigmoid", "column"], [OUTPUT]),
    ]
    return nodes, initializers


def _flatten(forest: RandomForestClassifier) -> dict[str, Any]:
    """Return the trees as attributes of ``TreeEnsembleRegressor``; a leaf's weight is its share of positives."""
    columns: dict[str, list[npt.NDArray[Any]]] = {}
    targets: dict[str, list[npt.NDArray[Any]]] = {}
    for number, estimator in enumerate(forest.estimators_):
        tree = estimator.tree_
        leaf = tree.children_left < 0
        ids = np.arange(tree.node_count)
        for name, values in {
            "nodes_treeids": np.full(tree.node_count, number),
            "nodes_nodeids": ids,
            "nodes_featureids": np.where(leaf, 0, tree.feature),
            "nodes_values": np.where(leaf, np.float32(0), floor_to_float32(tree.threshold)),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
            "nodes_truenodeids": np.where(leaf, 0, tree.children_left),
            "nodes_falsenodeids": np.where(leaf, 0, tree.children_right),
            "nodes_missing_value_tracks_true": np.where(leaf, 0, tree.missing_go_to_left),
        }.items():
            columns.setdefault(name, []).append(values)
        shares = tree.value[leaf, 0, :]
        for name, values in {
            "target_treeids": np.full(int(leaf.sum()), number),
            "target_nodeids": ids[leaf],
            "target_ids": np.zeros(int(leaf.sum()), dtype=np.int64),
            "target_weights": (shares[:, 1] / shares.sum(axis=1)).astype(np.float32),
        }.items():
            targets.setdefault(name, []).append(values)
    return {name: np.concatenate(parts).tolist() for name, parts in {**columns, **targets}.items()}


def score_rows(scorer: Scorer, rows: Matrix) -> Floats:
    """Return the probability of each of many rows."""
    return score_in_chunks(rows, scorer.score)


def check_parity(
    scorer: Scorer,
    forest: RandomForestClassifier,
    calibration: BetaCalibration,
    rows: Matrix,
    *,
    jobs: int,
) -> float:
    """Return the largest difference between ONNX and scikit-learn: all rows in chunks, some of them one by one.

    Raises:
        GraphMismatchError: It is above the tolerance, or a probability is NaN.
    """
    expected = calibration.apply(score_forest(forest, rows, jobs=jobs))
    difference = float(np.abs(score_rows(scorer, rows) - expected).max())
    for position in np.unique(np.linspace(0, len(rows) - 1, _SINGLE_ROWS).astype(np.int64)):
        single = float(scorer.score(rows[position : position + 1])[0])
        difference = max(difference, abs(single - float(expected[position])))
    if not difference <= TOLERANCE:
        raise GraphMismatchError(len(rows), difference, TOLERANCE)
    return difference


def floor_to_float32(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 not above each threshold.

    scikit-learn compares float32 values with float64 thresholds. For every float32 x, x ≤ threshold holds
    exactly where x ≤ this float32 holds, so the graph takes the same branch.
    """
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > thresholds, below, nearest)
