from typing import Any

import numpy as np
import pytest

from reprise.bundle import Manifest
from reprise.features.request_kinds import KINDS
from reprise.predictor.models.verdict import VerdictTable
from support.served_bundles import bundle_files, small_plan

PLAN = small_plan()
BOUGHT, IS_PURCHASE = PLAN.input_names.index("pair_purchases"), PLAN.input_names.index("request_is_purchase")
COUNTS = dict.fromkeys(("true_positives", "false_positives", "true_negatives", "false_negatives"), 1)


def verdict(threshold: float | None, edges: list[float], confidences: list[float]) -> dict[str, Any]:
    return {"threshold": threshold, "edges": edges, "confidences": confidences, "pooled": False, **COUNTS}


VERDICTS = {
    "first event": verdict(0.5, [0.2, 0.5, 0.75], [0.98, 0.9, 0.625, 0.875]),
    "first purchase": verdict(0.25, [0.25], [0.9, 0.5]),
    "first idle": verdict(None, [0.1], [0.99, 0.95]),
    "repeat event": verdict(0.3, [0.3, 1.0], [0.9, 0.6, 0.7]),
    "repeat purchase": verdict(0.3, [0.0, 0.3], [1.0, 0.9, 0.6]),
    "repeat idle": verdict(0.35, [0.35, 0.6], [0.8, 0.55, 0.7]),
}


def table(**overrides: Any) -> VerdictTable:
    return VerdictTable(Manifest.from_bytes(bundle_files(**overrides).manifest), PLAN)


def row(kind: str) -> list[float]:
    values = [0.0] * len(PLAN.inputs)
    values[BOUGHT] = float(kind.startswith("repeat"))
    values[IS_PURCHASE] = {"event": 0.0, "purchase": 1.0, "idle": np.nan}[kind.split()[1]]
    return values


@pytest.mark.parametrize(
    ("kind", "probability", "expected"),
    [
        ("first event", 0.5, (True, 0.625, 0.5)),
        ("first event", 0.49, (False, 0.9, 0.5)),
        ("first event", 0.1, (False, 0.98, 0.5)),
        ("first event", 0.9, (True, 0.875, 0.5)),
        ("first purchase", 0.38, (True, 0.5, 0.25)),
        ("first idle", 1.0, (False, 0.95, None)),
        ("repeat event", 1.0, (True, 0.7, 0.3)),
        ("repeat purchase", 0.0, (False, 0.9, 0.3)),
        ("repeat idle", 0.0, (False, 0.8, 0.35)),
    ],
)
def test_verdict_and_confidence_are_those_of_the_kind(
    kind: str, probability: float, expected: tuple[bool, float, float | None]
) -> None:
    assert table(verdicts=VERDICTS).of(probability, row(kind)) == expected


@pytest.mark.parametrize("verdicts", [VERDICTS, {}])
def test_a_row_has_the_same_verdict_alone_and_in_a_block(verdicts: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    probabilities = random.integers(0, 21, 600) / 20
    inputs = np.array([row(KINDS[kind]) for kind in random.integers(0, len(KINDS), 600)])
    inputs[::50, BOUGHT] = np.nan
    whole = table(verdicts=verdicts)
    alone = [whole.of(p, values) for p, values in zip(probabilities.tolist(), inputs.tolist(), strict=True)]
    assert list(zip(*whole.of_block(probabilities, inputs), strict=True)) == alone


def test_bundle_without_verdicts_states_the_probability_of_the_predicted_class() -> None:
    older = table(threshold=0.25)
    assert older.of(0.3, row("first event")) == (True, 0.3, 0.25)
    assert older.of(0.125, row("repeat idle")) == (False, 0.875, 0.25)
