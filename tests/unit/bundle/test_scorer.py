import math
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from reprise.bundle import Bundle, Manifest, UnusableModelError
from reprise.bundle.scorer import Scorer, horizon_scorers
from support.served_bundles import bundle_files, logistic_graph, small_plan


def scorer_of(weights: dict[str, float]) -> Scorer:
    files = bundle_files(weights=weights)
    manifest = Manifest.from_bytes(files.manifest)
    return Scorer.of(Bundle(digest=files.digest, manifest=manifest, model=files.model, metadata={}))


def test_one_row_and_many_give_the_same() -> None:
    scorer = scorer_of({"total_spend": 0.5})
    rows = np.random.default_rng(1).normal(size=(50, len(scorer.input_names)))
    rows[3, :] = math.nan
    together = scorer.score(rows)
    assert together.shape == (50,)
    for row, score in zip(rows.tolist(), together, strict=True):
        assert scorer.score_row(row) == pytest.approx(float(score), abs=1e-6)


def test_longer_horizon_never_has_the_lower_score() -> None:
    spans = [1, 2, 3, 4, 5]
    random = np.random.default_rng(2)
    plan = small_plan()
    graphs = {
        span: logistic_graph({name: random.normal() for name in plan.input_names}, 0.0, plan.input_names)
        for span in spans
    }
    files = bundle_files(graph=graphs[3], horizon_seconds=3, horizons={s: graphs[s] for s in spans if s != 3})
    manifest = Manifest.from_bytes(files.manifest)
    names = (manifest.model.input, manifest.model.output, manifest.input_names)
    own = {span: Scorer(graphs[span], *names) for span in spans}
    scorers = horizon_scorers(manifest, own[3], {span: graphs[span] for span in spans if span != 3})
    rows = random.normal(size=(200, len(plan.input_names)))
    alone, found = (np.array([each[span].score(rows) for span in spans]) for each in (own, scorers))
    assert (np.diff(alone, axis=0) < 0).any()
    assert (np.diff(found, axis=0) >= 0).all()
    np.testing.assert_array_equal(found[0], alone[:3].min(axis=0))
    np.testing.assert_array_equal(found[4], alone[2:].max(axis=0))
    for span, scores in zip(spans, found, strict=True):
        assert scorers[span].score_row(rows[7].tolist()) == pytest.approx(float(scores[7]), abs=1e-6)


def test_row_after_another_is_not_influenced_by_it() -> None:
    scorer = scorer_of({"total_spend": 1.0})
    others = [math.nan] * (len(scorer.input_names) - 1)
    first = scorer.score_row([3.0, *others])
    assert scorer.score_row([math.nan, *others]) == 0.5
    assert scorer.score_row([3.0, *others]) == first


def test_amount_beyond_single_precision_becomes_infinite_without_a_warning() -> None:
    scorer = scorer_of({"request_amount": 1.0})
    row: dict[str, float | None] = dict.fromkeys(scorer.input_names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = scorer.score_features([row | {"request_amount": 1e39}, row | {"request_amount": 0.0}])
    assert scores.tolist() == [1.0, 0.5]


def test_features_without_an_input_are_refused() -> None:
    with pytest.raises(KeyError):
        scorer_of({}).score_features([{"total_spend": 1.0}])


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(UnusableModelError, match="no ONNX model"):
        Scorer(b"no graph", "inputs", "probability", ("a",))


def test_what_was_checked_is_what_runs() -> None:
    # Producer "ORTM" after an unknown field: an ONNX model whose first bytes are those of ONNX Runtime's own format
    model = bytes([0x28, 0, 0x12, 4]) + b"ORTM" + bundle_files(weights={"total_spend": 1.0}).model
    disguised = Scorer(model, "inputs", "probability", scorer_of({}).input_names)
    row = [1.0] * len(disguised.input_names)
    assert disguised.score_row(row) == scorer_of({"total_spend": 1.0}).score_row(row)


def with_operator(op: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.node.append(helper.make_node(op, ["scores"], ["other"], domain=domain))


def with_subgraph(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "inner", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", graph))


def with_data_in_a_file(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def with_function(model: onnx.ModelProto) -> None:
    model.functions.add(name="Add", domain="")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_operator("Loop"), "operator Loop is not allowed"),
        (with_operator("Add", "com.example"), r"operator com\.example\.Add is not allowed"),
        (with_subgraph, "IsNaN: its attribute body has a graph"),
        (with_data_in_a_file, "data in other files"),
        (with_function, "functions"),
    ],
)
def test_graph_with_anything_but_allowed_operators_is_refused(
    change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = onnx.load_from_string(bundle_files().model)
    change(model)
    with pytest.raises(UnusableModelError, match=message):
        Scorer(model.SerializeToString(), "inputs", "probability", ("a",))
