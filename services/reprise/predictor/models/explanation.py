"""Local explanations: the contribution of each input to the votes of a forest, from the trees of its ONNX graph.

The contributions are those along the decision paths (Saabas, *Interpreting random forests*, 2014): at each split of a
tree the mean vote of the training rows changes from that of the node to that of the child, and the input that is split
on is credited with the change. So the contributions and the mean vote at the roots add up to the votes. ADR 31 compares
this with TreeSHAP.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from reprise.bundle.onnx_model import parse_model
from reprise.predictor.exceptions import NoExplanationError

_FOREST = "forest"


@dataclass(frozen=True, slots=True)
class ForestExplainer:
    """The trees of a graph, as arrays over the nodes of all of them; a leaf is its own child."""

    roots: NDArray[np.int64]
    inputs: NDArray[np.int64]  # Position of the input that a node splits on
    thresholds: NDArray[np.float64]  # A node goes to ``yes`` if its input is at most this
    yes: NDArray[np.int64]
    no: NDArray[np.int64]
    missing_is_yes: NDArray[np.bool_]
    votes: NDArray[np.float64]  # The mean vote of the training rows at the node
    depth: int

    @classmethod
    def of(cls, model: bytes) -> Self:
        """Read the forest of an ONNX model.

        Raises:
            NoExplanationError: It has no forest, or one without the number of training rows of its nodes.
        """
        graph = parse_model(model).graph
        node = next((each for each in graph.node if each.name == _FOREST), None)
        if node is None:
            raise NoExplanationError("the model's graph has no forest")
        found = {each.name: np.array(each.floats or each.ints) for each in node.attribute}
        if "nodes_hitrates" not in found:
            raise NoExplanationError(
                "the model was trained by a version that did not keep the training rows of each node; train it again"
            )
        starts = np.flatnonzero(found["nodes_nodeids"] == 0)
        offsets = starts[found["nodes_treeids"]]
        own = np.arange(len(offsets))
        yes, no = found["nodes_truenodeids"] + offsets, found["nodes_falsenodeids"] + offsets
        leaf = yes == no
        yes[leaf] = no[leaf] = own[leaf]
        votes = np.zeros(len(offsets))
        votes[starts[found["target_treeids"]] + found["target_nodeids"]] = found["target_weights"]
        levels = [starts[~leaf[starts]]]
        while len(levels[-1]):
            children = np.concatenate((yes[levels[-1]], no[levels[-1]]))
            levels.append(children[~leaf[children]])
        rows = found["nodes_hitrates"].astype(np.float64)
        for level in reversed(levels):
            ends = np.stack((yes[level], no[level]))
            votes[level] = (votes[ends] * rows[ends]).sum(axis=0) / rows[ends].sum(axis=0)
        return cls(
            starts,
            found["nodes_featureids"],
            found["nodes_values"].astype(np.float64),
            yes,
            no,
            found["nodes_missing_value_tracks_true"].astype(np.bool_),
            votes,
            len(levels),
        )

    def contributions(self, rows: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the mean vote at the roots, and the contribution of each input to the votes for each row.

        The first plus a row's sum is the share of votes that the calibration maps to a probability.
        """
        with np.errstate(over="ignore"):
            values = rows.astype(np.float32).astype(np.float64)
        count, width = rows.shape
        number = np.arange(count)[:, None]
        nodes, total = np.tile(self.roots, (count, 1)), np.zeros(count * width)
        for _ in range(self.depth):
            position = self.inputs[nodes]
            value = values[number, position]
            is_yes = np.where(np.isnan(value), self.missing_is_yes[nodes], value <= self.thresholds[nodes])
            after = np.where(is_yes, self.yes[nodes], self.no[nodes])
            change = self.votes[after] - self.votes[nodes]
            total += np.bincount((number * width + position).ravel(), change.ravel(), count * width)
            nodes = after
        trees = len(self.roots)
        return float(self.votes[self.roots].mean()), total.reshape(count, width) / trees
