"""A history, and the model that is trained on it."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from click.testing import CliRunner

from golden.installed import ROOT_COMMAND, clean_environment, scripts
from golden.text import as_text, digest
from support.plans import PLAN_FILE

_SHOP = ("--users", "60", "--products", "30", "--start", "2026-01-01", "--days", "120", "--horizon", "10d")
_TRAINING = ("--horizon", "10d", "--seed", "3", "--cv-folds", "0", "--max-rows", "3000", "--jobs", "2")


def model_bundle() -> str:
    with tempfile.TemporaryDirectory() as folder, clean_environment():
        events, truth, store = (str(Path(folder) / name) for name in ("e.parquet", "t.parquet", "models"))
        _reprise("datagen", *_SHOP, "--out", events, "--truth", truth)
        history = {
            name: digest(_rounded(pq.read_table(path).to_pylist()))
            for name, path in (("events", events), ("truth", truth))
        }
        paths = ("--events", events, "--truth", truth, "--plan", str(PLAN_FILE), "--out", store)
        _reprise("train", *paths, *_TRAINING)
        files = {path.name: path for path in Path(store).rglob("*") if path.is_file()}
        names = sorted(str(path.relative_to(store)) for path in files.values())
        manifest = json.loads(files["manifest.json"].read_bytes())
        bundle = files["manifest.json"].parent.name
        graph = digest(files["model.onnx"].read_bytes())
    content = {
        "history": history,
        "files": [name.replace(bundle, "BUNDLE") for name in names],
        "digest without libraries": digest(_comparable(manifest)),
        "model.onnx": graph,
        "manifest": _shortened(_comparable(manifest)),
    }
    return as_text(content) + "\n"


def _comparable(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest without versions of libraries; the name of our own distribution is not kept either."""
    libraries = sorted(
        {name.split("-")[0] if name.startswith(ROOT_COMMAND) else name for name in manifest["libraries"]}
    )
    rounded: dict[str, Any] = _rounded(manifest)
    return rounded | {"libraries": libraries}


def _rounded(node: Any) -> Any:
    """Return a value with six digits of each number: the last ones depend on the processor."""
    if isinstance(node, dict):
        return {key: _rounded(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_rounded(value) for value in node]
    return float(f"{node:.6g}") if isinstance(node, float) else node


def _shortened(manifest: dict[str, Any]) -> dict[str, Any]:
    bulk = ("plan", "inputs", "feature_histograms", "score_histogram", "importances", "verdicts")
    return {key: digest(value) if key in bulk else value for key, value in manifest.items()}


def _reprise(*arguments: str) -> None:
    result = CliRunner().invoke(scripts()[ROOT_COMMAND].load(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
