"""Whole rollouts with real predictors that answer requests all the while."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from reprise_bundle import BundleFiles, BundleStore
from support.cluster import wait_until
from support.rollout_world import evidence
from support.served_bundles import bundle_files, small_plan

pytestmark = pytest.mark.e2e

SOAK = os.environ.get("REPRISE_SOAK") == "1"
RATE = 100 if SOAK else 60
ROLLOUTS = 20 if SOAK else 2
WEIGHTS = {"request_amount": 0.01}
BIAS = 0.1
METRICS = [
    {"type": "ErrorRate", "max": 0.05},
    {"type": "LatencyP99", "max": 0.3},
    {"type": "ScoreDistance", "max": 0.25},
    {"type": "SampleRatio"},
]
ANALYSIS = {"interval": "2s", "window": "8s", "failureLimit": 2, "minSamples": 30, "metrics": METRICS}


@dataclass
class Traffic:
    """Requests at a steady rate to all predictors in turn; every one counts."""

    clients: list[httpx.Client]
    statuses: Counter[str] = field(default_factory=Counter)
    arms: Counter[str] = field(default_factory=Counter)
    arms_of: dict[str, set[str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(6)]
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            turn = next(self._turn)
            if self._stop.wait(max(0.0, self._began + turn / RATE - time.monotonic())):
                return
            # One amount in three is beyond what a model of single precision can tell from infinity.
            amount = 1e39 if turn % 3 == 0 else float(turn * 37 % 400 - 200)
            body = {"user_id": f"u-{turn % 5003}", "product_id": "p-1", "amount": max(0.0, amount)}
            self._count(body["user_id"], self._once(self.clients[turn % len(self.clients)], body))

    def _once(self, client: httpx.Client, body: dict[str, Any]) -> tuple[str, str]:
        try:
            answer = client.post("/predict", json=body)
        except httpx.HTTPError as error:
            return repr(error), ""
        return (
            (str(answer.status_code), answer.json()["arm"]) if answer.is_success else (answer.text[:200], "")
        )

    def _count(self, user: str, outcome: tuple[str, str]) -> None:
        status, arm = outcome
        with self._lock:
            self.statuses[status] += 1
            self.arms[arm] += 1
            self.arms_of.setdefault(user, set()).add(arm)


def slow_graph(names: tuple[str, ...]) -> bytes:
    """A model that takes its time: a product of matrices that depend on the request."""
    side = np.random.default_rng(7).random((700, 700), np.float32)
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
        helper.make_node("ReduceSum", ["small", "axis"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "nothing"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    initializers = [
        numpy_helper.from_array(side, "side"),
        numpy_helper.from_array(np.float32(0), "zero"),
        numpy_helper.from_array(np.float32(1), "one"),
        numpy_helper.from_array(np.float32(1e-30), "tiny"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["rows", len(names)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows"])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@pytest.fixture
def traffic(served_stage: Any) -> Iterator[Traffic]:
    with Traffic([predictor.http for predictor in served_stage.predictors]) as traffic:
        yield traffic
    served_stage.kubectl("delete", "modelrollouts", "--all", "--timeout=20s")
    served_stage.kubectl("delete", "events.events.k8s.io", "--all", "--wait=false")
    wait_until(
        "the predictors are released",
        lambda: all(predictor.report.arms == () for predictor in served_stage.predictors),
        20,
    )
    print(served_stage.log.read_text()[-3000:])
    print(dict(traffic.statuses), dict(traffic.arms))


def publish(stage: Any, files: BundleFiles) -> None:
    stage.new = BundleStore(str(stage.models)).publish(files)


def test_a_good_candidate_is_promoted_while_every_request_is_answered(served_stage, traffic):
    for number in range(ROLLOUTS):
        publish(served_stage, bundle_files(weights=WEIGHTS, bias=BIAS + 0.001 * (number + 1)))
        served_stage.apply(analysis=ANALYSIS, promotion={"rule": "Better"})
        began = time.monotonic()
        served_stage.wait_for_weight(1000, 10)
        print(f"from kubectl apply to both predictors serving: {time.monotonic() - began:.2f} s")
        served_stage.wait_for_phase("Measuring", 90)
        said = evidence("better", datetime.now(UTC), candidate=served_stage.new, baseline=served_stage.base)
        key = f"{served_stage.namespace}/repurchase"
        served_stage.say(said.model_copy(update={"rollout": key}))
        served_stage.wait_for_phase("Promoted", 60)
        assert served_stage.status["lastPromotedDigest"] == served_stage.new
        served_stage.base = served_stage.new
        print(served_stage.kubectl("get", "modelrollouts"))
        print(served_stage.kubectl("describe", "modelrollouts"))
    assert set(traffic.statuses) == {"200"}
    assert traffic.arms["forest"] > 0
    assert all(len(arms) <= 2 for arms in traffic.arms_of.values())


def corrupted(stage: Any) -> None:
    publish(stage, bundle_files(weights=WEIGHTS, bias=BIAS + 0.5))
    model = stage.models / "bundles" / stage.new.replace(":", "-") / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 0xFF
    model.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda stage: publish(stage, bundle_files(bias=2.0, fails_on_infinity=True)),
            "ErrorRateBreached",
        ),
        (
            lambda stage: publish(stage, bundle_files(graph=slow_graph(small_plan().input_names))),
            "LatencyP99Breached",
        ),
        (lambda stage: publish(stage, bundle_files(weights=WEIGHTS, bias=6.0)), "ScoreDistanceBreached"),
        (corrupted, "BundleRefused"),
    ],
    ids=["errs", "is slow", "scores garbage", "is corrupt"],
)
def test_a_candidate_that(served_stage, traffic, make, reason):
    make(served_stage)
    metric = reason.removesuffix("Breached")
    metrics = [each for each in METRICS if each["type"] == metric] or METRICS
    if metric == "LatencyP99":
        # how long anything takes depends on who else is on the machine; how much longer does not
        metrics = [{"type": metric, "maxRatio": 4}]
    served_stage.apply(analysis=ANALYSIS | {"metrics": metrics})
    began = time.monotonic()
    found = served_stage.wait_for_phase("RolledBack", 60)
    print(f"{reason}: {time.monotonic() - began:.1f} s after kubectl apply: {found['message']}")
    assert found["reason"] == reason
    wait_until("nobody has it", lambda: served_stage.document.arms[1:] == (), 5)
    assert set(traffic.statuses) == {"200"}
    if reason == "BundleRefused":
        assert traffic.arms["forest"] == 0
