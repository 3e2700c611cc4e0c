import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from reprise.bundle import Histogram, InvalidBundleError, Manifest, canonical_json

SCORES = {
    "roc_auc": None, "average_precision": None, "brier": 0.1, "log_loss": 0.3, "calibration_error": 0.01,
    "precision": None, "recall": None,
}  # fmt: skip
WINDOW = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z", "rows": 10, "positives": 2}


def content() -> dict[str, Any]:
    return {
        "format": 1,
        "model": {"sha256": "0" * 64, "size": 1, "opsets": {"": 18}, "input": "inputs", "output": "p"},
        "schema_hash": "s", "plan_hash": "p", "plan": {}, "inputs": [{"name": "b"}, {"name": "a"}],
        "horizon_seconds": 60, "threshold": 0.25, "seed": 1, "parameters": {}, "calibration": {},
        "evaluation": {
            "overall": {"rows": 10, "positives": 2, "model": SCORES, "baselines": {}},
            "repeat_candidates": None,
        },
        "importances": [],
        "data": {
            "events_sha256": "0" * 64, "events": 30, "first": "", "last": "", "labelled_rows": 30,
            "sampled_rows": 30, "train": WINDOW, "calibration": WINDOW, "evaluation": WINDOW,
        },
        "parity": {"rows": 10, "max_abs_diff": 0.0, "tolerance": 1e-5},
        "score_histogram": {"edges": [0, 1], "counts": [10]}, "feature_histograms": {}, "libraries": {},
    }  # fmt: skip


def test_bytes_are_canonical_and_read_back_the_same() -> None:
    manifest = Manifest.model_validate(content())
    data = manifest.to_bytes()
    assert Manifest.from_bytes(data) == manifest
    assert Manifest.from_bytes(data).to_bytes() == data
    assert data == canonical_json(json.loads(data))
    reordered = dict(reversed(content().items()))
    assert Manifest.model_validate(reordered).to_bytes() == data


def test_order_of_the_inputs_is_kept() -> None:
    assert Manifest.from_bytes(Manifest.model_validate(content()).to_bytes()).input_names == ("b", "a")


def test_fields_of_later_versions_are_ignored() -> None:
    later = content() | {"surprise": {"a": 1}, "data": content()["data"] | {"surprise": 1}}
    assert Manifest.from_bytes(canonical_json(later)) == Manifest.model_validate(content())


def _change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(manifest: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            manifest = manifest[name]
        manifest[last] = value

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("format", 2), "expected format 1, got 2"),
        (_change("threshold", 1.5), "threshold"),
        (_change("model.sha256", "xyz"), r"model\.sha256"),
        (_change("inputs", []), "inputs"),
        (_change("inputs", [{"name": "a"}, {"name": "a"}]), "occurs twice"),
        (_change("feature_histograms", {"zzz": {"edges": [0, 1], "counts": [1]}}), "zzz is no input"),
        (_change("score_histogram", {"edges": [0, 1], "counts": [1, 2]}), "2 counts need 3 edges"),
        (_change("score_histogram", {"edges": [1, 1], "counts": [1]}), "edges must rise"),
    ],
)
def test_broken_manifest_names_the_field(change: Callable[[dict[str, Any]], None], message: str) -> None:
    broken = content()
    change(broken)
    with pytest.raises(InvalidBundleError, match=message):
        Manifest.from_bytes(json.dumps(broken).encode(), location="x/manifest.json")


def test_manifest_without_further_horizons_has_no_member_for_them() -> None:
    assert "horizons" not in json.loads(Manifest.model_validate(content()).to_bytes())


@pytest.mark.parametrize("spans", [(60,), (10, 10), (90, 10)])
def test_further_horizons_rise_and_differ_from_the_default(spans: tuple[int, ...]) -> None:
    each = {
        "sha256": "0" * 64, "evaluated_sha256": "0" * 64, "threshold": 0.5, "verdicts": {}, "train": WINDOW,
        "calibration": {}, "evaluated": WINDOW, "evaluation": content()["evaluation"], "intervals": {},
        "bounded": 0.0, "unbounded_brier": 0.1, "parity": content()["parity"],
    }  # fmt: skip
    broken = {**content(), "horizons": [{**each, "seconds": seconds} for seconds in spans]}
    with pytest.raises(InvalidBundleError, match="expected rising horizons"):
        Manifest.from_bytes(json.dumps(broken).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"{"])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidBundleError, match=r"x/manifest\.json"):
        Manifest.from_bytes(data, location="x/manifest.json")


def test_nan_cannot_hide_in_a_manifest() -> None:
    changed = Manifest.model_validate({**content(), "parameters": {"rate": float("nan")}})
    with pytest.raises(InvalidBundleError, match="JSON compliant"):
        changed.to_bytes()


def test_column_without_values_has_an_empty_histogram() -> None:
    assert Histogram(edges=(), counts=(), missing=5).missing == 5


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, reprise.bundle; heavy = {'sklearn', 'onnx', 'onnxruntime', 'pandas', 'numpy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
