import json
import subprocess
import sys
from typing import Any

import pytest

from reprise.bundle import Histogram, InvalidBundleError, Manifest, canonical_json
from support.served_bundles import bundle_files


def content(**overrides: Any) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(bundle_files(graph=b"onnx", **overrides).manifest)
    return manifest


def test_bytes_are_canonical_and_read_back_the_same() -> None:
    manifest = Manifest.model_validate(content())
    data = manifest.to_bytes()
    assert Manifest.from_bytes(data) == manifest
    assert Manifest.from_bytes(data).to_bytes() == data
    assert data == canonical_json(json.loads(data))
    reordered = dict(reversed(content().items()))
    assert Manifest.model_validate(reordered).to_bytes() == data


def test_order_of_the_inputs_is_kept() -> None:
    data = canonical_json(content(inputs=[{"name": "b"}, {"name": "a"}]))
    assert Manifest.from_bytes(data).input_names == ("b", "a")


def test_fields_of_later_versions_are_ignored() -> None:
    later = content() | {"surprise": {"a": 1}, "data": content()["data"] | {"surprise": 1}}
    assert Manifest.from_bytes(canonical_json(later)) == Manifest.model_validate(content())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", 2, "expected format 1, got 2"),
        ("threshold", 1.5, "threshold"),
        ("model.sha256", "xyz", r"model\.sha256"),
        ("inputs", [], "inputs"),
        ("inputs", [{"name": "a"}, {"name": "a"}], "occurs twice"),
        ("feature_histograms", {"zzz": {"edges": [0, 1], "counts": [1]}}, "zzz is no input"),
        ("score_histogram", {"edges": [0, 1], "counts": [1, 2]}, "2 counts need 3 edges"),
        ("score_histogram", {"edges": [1, 1], "counts": [1]}, "edges must rise"),
        ("horizons.1.seconds", 2_592_000, "expected rising horizons"),
        ("horizons.0.seconds", 20, "expected rising horizons"),
        ("horizons.0.seconds", 90, "expected rising horizons"),
    ],
)
def test_broken_manifest_names_the_field(path: str, value: Any, message: str) -> None:
    broken = content(horizons={10: b"ten", 20: b"twenty"})
    *parents, last = path.split(".")
    part: Any = broken
    for name in parents:
        part = part[int(name) if name.isdigit() else name]
    part[last] = value
    with pytest.raises(InvalidBundleError, match=message):
        Manifest.from_bytes(json.dumps(broken).encode(), location="x/manifest.json")


def test_manifest_without_further_horizons_has_no_member_for_them() -> None:
    assert "horizons" not in content()


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
