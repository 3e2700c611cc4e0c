"""The ONNX graph of a forest with its calibration, exact for float32 inputs."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from reprise.bundle import Parity
from reprise.bundle.scorer import Scorer
from reprise.features.request_kinds import KindColumns
from reprise.trainer.exceptions import GraphMismatchError
from reprise.trainer.model.beta_calibration import CLIP, KindCalibration
from reprise.trainer.model.forest import Floats, Matrix, SplitForest, score_in_chunks

INPUT = "inputs"
OUTPUT = "probability"
OPSETS = {"": 18, "ai.onnx.ml": 3}
TOLERANCE = 1e-5
"""Largest difference of a published bundle between ONNX Runtime and scikit-learn, beyond what rounding explains."""
_ROUNDING = 2.0**-24
"""Largest relative error of a float32 operation. A sum of n terms, all positive, has at most n - 1 times that
(Higham, 2002, Accuracy and Stability of Numerical Algorithms, section 4.2)."""
_IR_VERSION = 8
_ANY = float(np.finfo(np.float32).max)
_SINGLE_ROWS = 256


def build_graph(forest: SplitForest, calibration: KindCalibration) -> bytes:
    """Return the ONNX model: float32 ``inputs`` [rows, inputs] to float32 ``probability`` [rows].

    Tree i of the graph is tree i of both forests under a root that sends each row to one of them, so two forests take
    as long as one. One more tree gives each row the coefficients of its kind's calibration. The bytes depend only on
    the forest and the calibration.
    """
    trees = zip(*(part.estimators_ for part in forest.parts), strict=True)
    votes = _ensemble(
        "forest", "votes", 1, "AVERAGE", (_tree_of_votes(each, forest.columns) for each in trees)
    )
    coefficients = _ensemble("kinds", "coefficients", 3, "SUM", [_tree_of_coefficients(calibration)])
    nodes, initializers = _calibration()
    graph = helper.make_graph(
        [votes, coefficients, *nodes],
        "reprise",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", forest.first.n_features_in_])],
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


def _calibration() -> tuple[list[Any], list[Any]]:
    """Return the nodes from ``votes`` and ``coefficients`` [rows, 3] to the output, and the constants they use."""
    constants = {"lowest": CLIP, "highest": 1.0 - CLIP, "one": 1.0}
    initializers = [numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "column"))
    nodes = [
        helper.make_node("Split", ["coefficients"], ["a", "b", "c"], axis=1, num_outputs=3),
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


@dataclass(frozen=True, slots=True)
class _Tree:
    """A binary tree as arrays: a node goes to ``yes`` if its input is at most the value; node 0 is the root."""

    inputs: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    yes: npt.NDArray[np.int64]  # Place of the node for inputs up to the value; negative in a leaf
    no: npt.NDArray[np.int64]
    missing_is_yes: npt.NDArray[np.int64]  # 1 if missing inputs go to ``yes``
    weights: npt.NDArray[np.float32]  # What the leaves add, shape (nodes, targets)
    rows: npt.NDArray[np.float32]  # Weighted training rows of each node, which explanations need

    @classmethod
    def leaf(cls, *weights: float) -> "_Tree":
        """Return a tree of one leaf."""
        none = np.zeros(1, np.int64)
        return cls(
            none,
            none.astype(np.float32),
            none - 1,
            none - 1,
            none,
            np.array([weights], np.float32),
            np.zeros(1, np.float32),
        )

    @classmethod
    def split(
        cls, position: int, value: float, yes: "_Tree", no: "_Tree", *, missing_is_yes: bool
    ) -> "_Tree":
        """Return a tree whose root splits on the input at a position."""
        ends = 1, 1 + len(yes.inputs)
        parts = [
            replace(part, yes=_moved(part.yes, end), no=_moved(part.no, end))
            for part, end in zip((yes, no), ends, strict=True)
        ]
        root = cls(
            np.array([position]),
            np.array([value], np.float32),
            np.array([ends[0]]),
            np.array([ends[1]]),
            np.array([int(missing_is_yes)]),
            np.zeros((1, yes.weights.shape[1]), np.float32),
            yes.rows[:1] + no.rows[:1],
        )
        return cls(
            *(np.concatenate([getattr(each, field.name) for each in (root, *parts)]) for field in fields(cls))
        )


def _moved(places: npt.NDArray[np.int64], by: int) -> npt.NDArray[np.int64]:
    return np.where(places < 0, places, places + by)


def _tree_of_votes(estimators: Sequence[Any], columns: KindColumns) -> _Tree:
    """Return a tree of the one estimator, or of both under a root that splits on whether the pair was bought."""
    trees = []
    for estimator in estimators:
        tree = estimator.tree_
        leaf = tree.children_left < 0
        shares = tree.value[:, 0, :]
        trees.append(
            _Tree(
                inputs=np.where(leaf, 0, tree.feature),
                values=np.where(leaf, np.float32(0), floor_to_float32(tree.threshold)),
                yes=tree.children_left,
                no=tree.children_right,
                missing_is_yes=np.where(leaf, 0, tree.missing_go_to_left).astype(np.int64),
                weights=(shares[:, 1:] / shares.sum(axis=1, keepdims=True)).astype(np.float32),
                rows=tree.weighted_n_node_samples.astype(np.float32),
            )
        )
    if columns.purchases is None or len(trees) == 1:
        return trees[0]
    return _Tree.split(columns.purchases, 0.0, *trees, missing_is_yes=True)


def _tree_of_coefficients(calibration: KindCalibration) -> _Tree:
    """Return the tree that gives each row the coefficients a, b and c of its kind."""
    columns, leaves = calibration.columns, [_Tree.leaf(*astuple(each)) for each in calibration.by_kind]
    groups = []
    for kinds in columns.groups():
        event, purchase, idle = (leaves[kind] for kind in kinds)
        group = event
        if (position := columns.is_purchase) is not None:
            known = _Tree.split(position, 0.5, event, purchase, missing_is_yes=False)
            group = _Tree.split(position, _ANY, known, idle, missing_is_yes=False)
        groups.append(group)
    if columns.purchases is None:
        return groups[0]
    return _Tree.split(columns.purchases, 0.0, *groups, missing_is_yes=True)


def _ensemble(name: str, output: str, targets: int, aggregate: str, trees: Iterable[_Tree]) -> Any:
    columns: dict[str, list[npt.NDArray[Any]]] = {}
    for number, tree in enumerate(trees):
        ids, leaf = np.arange(len(tree.inputs)), tree.yes < 0
        weights = tree.weights[leaf]
        for key, values in {
            "nodes_treeids": np.full(len(ids), number),
            "nodes_nodeids": ids,
            "nodes_featureids": tree.inputs,
            "nodes_values": tree.values,
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ"),
            "nodes_truenodeids": np.where(leaf, 0, tree.yes),
            "nodes_falsenodeids": np.where(leaf, 0, tree.no),
            "nodes_missing_value_tracks_true": tree.missing_is_yes,
            "nodes_hitrates": tree.rows,
            "target_treeids": np.full(weights.size, number),
            "target_nodeids": np.repeat(ids[leaf], targets),
            "target_ids": np.tile(np.arange(targets), len(weights)),
            "target_weights": weights.ravel(),
        }.items():
            columns.setdefault(key, []).append(values)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        [output],
        domain="ai.onnx.ml",
        name=name,
        n_targets=targets,
        aggregate_function=aggregate,
        post_transform="NONE",
        **{key: np.concatenate(parts).tolist() for key, parts in columns.items()},
    )


@dataclass(frozen=True, slots=True)
class ExportedForest:
    """The ONNX model of a forest with its calibration."""

    graph: bytes
    scorer: Scorer  # Runs the graph
    parity: Parity  # ONNX Runtime against scikit-learn


def export_forest(
    forest: SplitForest, calibration: KindCalibration, rows: Matrix, input_names: Sequence[str], *, jobs: int
) -> ExportedForest:
    """Build the graph, and compare it with scikit-learn on some rows; raises ``GraphMismatchError``."""
    graph = build_graph(forest, calibration)
    scorer = Scorer(graph, INPUT, OUTPUT, tuple(input_names))
    difference = check_parity(scorer, forest, calibration, rows, jobs=jobs)
    return ExportedForest(graph, scorer, Parity(rows=len(rows), max_abs_diff=difference, tolerance=TOLERANCE))


def score_rows(scorer: Scorer, rows: Matrix) -> Floats:
    """Return the probability of each of many rows."""
    return score_in_chunks(rows, scorer.score)


def check_parity(
    scorer: Scorer,
    forest: SplitForest,
    calibration: KindCalibration,
    rows: Matrix,
    *,
    jobs: int,
) -> float:
    """Return the largest difference between ONNX and scikit-learn: all rows in chunks, some of them one by one.

    The graph averages votes in float32, and near a vote of 1 the calibration amplifies the rounding. So a probability
    is compared with those of the smallest and the largest vote that rounding explains.

    Raises:
        GraphMismatchError: A probability is farther from these than the tolerance, or NaN.
    """
    votes = forest.score(rows, jobs=jobs)
    rounding = _ROUNDING * len(forest.first.estimators_)
    least, expected, most = (calibration.apply(votes + by, rows) for by in (-rounding, 0.0, rounding))
    single = np.unique(np.linspace(0, len(rows) - 1, _SINGLE_ROWS).astype(np.int64))
    alone = [scorer.score(rows[position : position + 1])[0] for position in single]
    found = np.concatenate([score_rows(scorer, rows), alone])
    at = np.concatenate([np.arange(len(rows)), single])
    beyond = float(np.maximum(least[at] - found, found - most[at]).max())
    if not beyond <= TOLERANCE:
        raise GraphMismatchError(len(rows), beyond, TOLERANCE)
    return float(np.abs(found - expected[at]).max())


def floor_to_float32(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 not above each threshold.

    scikit-learn compares float32 values with float64 thresholds. For every float32 x, x ≤ threshold holds
    exactly where x ≤ this float32 holds, so the graph takes the same branch.
    """
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > thresholds, below, nearest)
