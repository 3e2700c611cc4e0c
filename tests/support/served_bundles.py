"""Small plans and model bundles that answer what a test can work out by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from reprise.bundle import (
    EVALUATED_HORIZON,
    EVALUATED_USERS,
    HORIZON,
    USERS,
    BundleFiles,
    Manifest,
    sha256_hex,
)
from reprise.features.plan import Plan
from reprise.store.feast.view import StateView

DAY_US = 86_400_000_000


def numbers_of(view: StateView) -> StateView:
    return StateView(view.name, view.join_keys, tuple(f for f in view.fields if f.kind != "bytes"))


def small_plan() -> Plan:
    """The four promised inputs, one of the product, one of the pair, and the request's own two."""
    mean = {"kind": "ratio", "numerator": "purchases_amount_sum", "denominator": "purchases_amount_n"}
    since = {"kind": "since", "instant": "purchases_last_us", "unit_us": DAY_US}
    user_state = [
        {"kind": "moments", "frame": "purchases"},
        {"kind": "last_time", "frame": "purchases"},
        {"kind": "pair_sum", "inner": "bought_again"},
        {"kind": "latest_products", "frame": "purchases", "limit": 3},
    ]
    user_inputs = [
        _input("total_spend", "currency", _value("purchases_amount_sum")),
        _input("avg_transaction_amount", "currency", mean),
        _input("days_since_last_purchase", "days", since),
        _input("repeat_purchase_count", "pairs", _value("pairs_bought_again_sum")),
    ]
    bought_again = {"kind": "above", "of": _value("purchases_count"), "threshold": 1}
    return Plan.from_dict(
        {
            "format": 1,
            "frames": {"view": "views", "purchase": "purchases"},
            "pair_values": {"bought_again": bought_again},
            "entities": {
                "user": {"state": user_state, "inputs": user_inputs},
                "product": {
                    "state": [{"kind": "count", "frame": "views"}],
                    "inputs": [_input("product_views", "events", _value("views_count"))],
                },
                "pair": {
                    "state": [{"kind": "count", "frame": "purchases"}],
                    "inputs": [_input("pair_purchases", "events", _value("purchases_count"))],
                },
            },
            "request_inputs": [
                _input("request_amount", "currency", {"kind": "request", "field": "amount"}),
                _input("request_is_purchase", "0 or 1", {"kind": "request", "field": "is_purchase"}),
            ],
        }
    )


def _input(name: str, unit: str, finish: Mapping[str, Any]) -> dict[str, Any]:
    described = {"source": f"source of {name}", "unit": unit, "description": f"what {name} says"}
    return {"name": name, **described, "finish": finish}


def _value(field: str) -> dict[str, str]:
    return {"kind": "value", "field": field}


HUGE = 1e12
"""The largest amount that is taken."""


def logistic_graph(
    weights: Mapping[str, float],
    bias: float,
    names: tuple[str, ...],
    *,
    fails_on_huge_inputs: bool = False,
    most: float = 1e30,
) -> bytes:
    """sigmoid(bias + Σ weight × input), a missing input counting as zero and one above ``most`` as that much.

    One that fails on inputs of ``HUGE`` and more gives NaN there, like a model that breaks on one request in a million.
    """
    column = np.array([[weights.get(name, 0.0)] for name in names], np.float32)
    inputs = "fragile" if fails_on_huge_inputs else "finite"
    nodes = [
        helper.make_node("IsNaN", ["inputs"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "inputs"], ["present"]),
        helper.make_node("Clip", ["present", "least", "most"], ["finite"]),
        # Infinity less infinity is NaN.
        helper.make_node("Mul", ["present", "overflowing"], ["overflown"]),
        helper.make_node("Sub", ["overflown", "overflown"], ["nothing"]),
        helper.make_node("Add", ["finite", "nothing"], ["fragile"]),
        helper.make_node("MatMul", [inputs, "weights"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["scores"]),
        helper.make_node("Squeeze", ["scores", "axis"], ["probability"]),
    ]
    initializers = [
        numpy_helper.from_array(column, "weights"),
        numpy_helper.from_array(np.float32(bias), "bias"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.float32(-1e30), "least"),
        numpy_helper.from_array(np.float32(most), "most"),
        numpy_helper.from_array(np.float32(1e39 / HUGE), "overflowing"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    return serialized("logistic", nodes, initializers, names, ["rows"])


def expensive_graph(size: int, products: int, names: tuple[str, ...]) -> bytes:
    """A graph of allowed operators and a few KiB that multiplies square matrices of ``size`` rows as it is loaded.

    It adds a column and a row to a matrix, and multiplies that ``products`` times by itself.
    """
    column = np.full((size, 1), 1e-6, np.float32)
    steps = [
        helper.make_node("MatMul", [f"matrix{n}", "matrix0"], [f"matrix{n + 1}"]) for n in range(products)
    ]
    nodes = [
        helper.make_node("Add", ["column", "row"], ["matrix0"]),
        *steps,
        helper.make_node("MatMul", [f"matrix{products}", "column"], ["vector"]),
        helper.make_node("MatMul", ["row", "vector"], ["scalar"]),
        helper.make_node("MatMul", ["inputs", "zeros"], ["nothing"]),
        helper.make_node("Add", ["nothing", "scalar"], ["probability"]),
    ]
    initializers = [
        numpy_helper.from_array(column, "column"),
        numpy_helper.from_array(column.T, "row"),
        numpy_helper.from_array(np.zeros((len(names), 1), np.float32), "zeros"),
    ]
    return serialized("expensive", nodes, initializers, names, ["rows", 1])


def serialized(
    name: str,
    nodes: Sequence[NodeProto],
    initializers: Sequence[TensorProto],
    names: tuple[str, ...],
    shape: Sequence[str | int],
) -> bytes:
    """Return the model of a graph from ``inputs``, a column for each name, to ``probability`` of this shape."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["rows", len(names)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def bundle_files(
    of: Plan | None = None,
    *,
    weights: Mapping[str, float] | None = None,
    bias: float = 0.0,
    graph: bytes | None = None,
    fails_on_huge_inputs: bool = False,
    evaluation_start: str = "2026-01-01T00:00:00Z",
    users: tuple[bytes, bytes] | None = None,
    horizons: Mapping[int, bytes] = {},
    **overrides: Any,
) -> BundleFiles:
    """A bundle of a plan whose model is ``logistic_graph``; ``overrides`` replace parts of the manifest.

    ``users`` are the graphs of a users' model, published and evaluated; ``horizons`` those of further horizons, by
    seconds, which are evaluated too.
    """
    plan = of or small_plan()
    model = graph or logistic_graph(
        weights or {}, bias, plan.input_names, fails_on_huge_inputs=fails_on_huge_inputs
    )
    scores = {
        "roc_auc": 0.8, "average_precision": 0.4, "brier": 0.1, "log_loss": 0.3, "calibration_error": 0.01,
        "precision": 0.5, "recall": 0.6,
    }  # fmt: skip
    window = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z", "rows": 10, "positives": 2}
    parity = {"rows": 10, "max_abs_diff": 1e-8, "tolerance": 1e-5}
    if users is not None:
        kept = ("roc_auc", "brier", "log_loss", "calibration_error")
        overrides["users"] = {
            "sha256": sha256_hex(users[0]), "evaluated_sha256": sha256_hex(users[1]),
            "inputs": [each.name for each in plan.user.inputs], "users": 10, "train": window,
            "calibration": {"a": 1.0}, "rows": 10, "positives": 2, "intervals": {}, "reliability": [], "parity": parity,
            "scores": {"model": {name: scores[name] for name in kept}},
        }  # fmt: skip
    evaluation = {
        "overall": {"rows": 10, "positives": 2, "model": scores, "baselines": {"recency": scores}},
        "repeat_candidates": None,
    }  # fmt: skip
    if horizons:
        overrides["horizons"] = [
            {
                "seconds": seconds, "sha256": sha256_hex(each), "evaluated_sha256": sha256_hex(each),
                "threshold": 0.25, "verdicts": {}, "train": window, "calibration": {"a": 1.0}, "evaluated": window,
                "evaluation": evaluation, "intervals": {}, "bounded": 0.1, "unbounded_brier": 0.1, "parity": parity,
            }
            for seconds, each in sorted(horizons.items())
        ]  # fmt: skip
    manifest = Manifest.model_validate(
        {
            "model": {
                "sha256": sha256_hex(model), "size": len(model), "opsets": {"": 18}, "input": "inputs",
                "output": "probability",
            },
            "schema_hash": plan.schema_hash, "plan_hash": plan.hash, "plan": plan.to_dict(),
            "inputs": [{"name": name} for name in plan.input_names],
            "horizon_seconds": 2_592_000, "threshold": 0.5, "seed": 7, "parameters": {"trees": 100},
            "calibration": {"a": 1.0},
            "evaluation": evaluation,
            "importances": [{"name": "total_spend", "impurity": 1.0, "permutation": 0.2}],
            "data": {
                "events_sha256": "0" * 64, "events": 30, "first": "2026-01-01T00:00:00Z",
                "last": "2026-05-01T00:00:00Z", "labelled_rows": 30, "sampled_rows": 30, "train": window,
                "calibration": window,
                "evaluation": window | {"start": evaluation_start},
            },
            "parity": parity,
            "score_histogram": {"edges": [0.0, 0.5, 1.0], "counts": [9, 1]},
            "feature_histograms": {}, "libraries": {"onnx": "1"},
        }
        | overrides
    )  # fmt: skip
    metadata = b'{"trained_at": "2026-11-01T00:00:00Z"}'
    graphs = {} if users is None else dict(zip((USERS, EVALUATED_USERS), users, strict=True))
    for name in (HORIZON, EVALUATED_HORIZON):
        graphs |= {name.format(seconds): each for seconds, each in horizons.items()}
    return BundleFiles(manifest.to_bytes(), model, {"metadata.json": metadata, **graphs})
