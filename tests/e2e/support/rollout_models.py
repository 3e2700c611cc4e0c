"""Bundles of the shop's own plan for rollouts: models that do harm, and models whose worth is known beforehand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from onnx import helper, numpy_helper

from e2e.support.cluster import ROOT
from reprise.bundle import BundleFiles
from reprise.features.plan import Plan
from support.served_bundles import bundle_files, logistic_graph, serialized

PLAN = Plan.load(ROOT / "feature_repo/plan/plan.json")
HIGH = 200.0
"""What a model of these sees of an amount at most."""

SURE = math.log(0.88 / 0.12)
"""Log-odds of nearly nine in ten; nine in ten itself is the edge between two bins of scores."""


def telling(weights: Mapping[str, float], bias: float) -> BundleFiles:
    """A model that says sigmoid(bias + Σ weight × input), each input up to ``HIGH``."""
    return _bundle(logistic_graph(weights, bias, PLAN.input_names, most=HIGH))


def by_amount(shift: float = 0.0) -> BundleFiles:
    """A model that says nearly nine in ten of a high amount, and hardly more than one in ten of none."""
    return telling({"request_amount": 2 * SURE / HIGH}, shift - SURE)


def by_event_type(shift: float = 0.0) -> BundleFiles:
    """A model that says nearly nine in ten of a purchase, and hardly more than one in ten of anything else."""
    return telling({"request_is_purchase": 2 * SURE}, shift - SURE)


def always(probability: float) -> BundleFiles:
    """A model that says the same of everybody."""
    return telling({}, math.log(probability / (1 - probability)))


def failing_on_huge_inputs() -> BundleFiles:
    """A model that gives no probability where an amount is huge."""
    return _bundle(logistic_graph({}, 0.0, PLAN.input_names, fails_on_huge_inputs=True))


def evaluated_from(start: str) -> BundleFiles:
    """A model whose evaluation began then, RFC 3339: no earlier rows can be compared with it."""
    return bundle_files(of=PLAN, evaluation_start=start)


def slow() -> BundleFiles:
    """A model that takes its time: a product of matrices that depend on the request."""
    side = np.random.default_rng(7).random((450, 450), np.float32)
    nodes = [
        helper.make_node("IsNaN", ["inputs"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "inputs"], ["present"]),
        helper.make_node("Clip", ["present", "zero", "one"], ["small"]),
        helper.make_node("ReduceMean", ["small"], ["mean"], keepdims=0),
        helper.make_node("Add", ["side", "mean"], ["shifted"]),
        *(
            helper.make_node("MatMul", [before, "side"], [after])
            for before, after in itertools.pairwise(["shifted", "a", "b", "c", "d", "e"])
        ),
        helper.make_node("ReduceMean", ["e"], ["big"], keepdims=0),
        helper.make_node("Mul", ["big", "tiny"], ["nothing"]),
        helper.make_node("ReduceMean", ["small", "axis"], ["share"], keepdims=0),
        helper.make_node("Add", ["share", "nothing"], ["probability"]),
    ]
    initializers = [
        numpy_helper.from_array(side, "side"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.float32(1), "one"),
        numpy_helper.from_array(np.float32(1e-30), "tiny"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    return _bundle(serialized("slow", nodes, initializers, PLAN.input_names, ["rows"]))


def _bundle(graph: bytes) -> BundleFiles:
    return bundle_files(of=PLAN, graph=graph)
