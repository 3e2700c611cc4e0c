"""Scores rows with a bundle's ONNX graph. Import it only where rows are scored: it loads ONNX Runtime."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from reprise.bundle.bundle import Bundle
from reprise.bundle.exceptions import UnusableModelError
from reprise.bundle.manifest import Manifest
from reprise.bundle.onnx_model import check_operators


class Scorer:
    """An ONNX graph in ONNX Runtime, with one thread.

    Calls run on the caller's thread: a row takes less time than a thread hop. The buffer of ``score_row`` is
    reused, so an instance belongs to one thread. A number beyond float32 becomes infinite, which is on the same
    side of every threshold of a tree.

    Args:
        model: Bytes of the graph.
        input_name: Its input, float32 [rows, inputs], NaN where missing.
        output_name: Its output, float32 [rows] or [rows, 1], P(buys within the horizon).
        input_names: Names of a row's inputs, in order.

    Attributes:
        session: The ONNX Runtime session.
        input_names: Names of a row's inputs, in order.

    Raises:
        UnusableModelError: The graph has an operator that is not allowed, or ONNX Runtime cannot run it.
    """

    def __init__(self, model: bytes, input_name: str, output_name: str, input_names: Sequence[str]) -> None:
        self.session = _open_session(model)
        self.input_names = tuple(input_names)
        self._input_name = input_name
        self._outputs = [output_name]
        self._row = np.zeros((1, len(self.input_names)), np.float32)
        self._feed = {input_name: self._row}

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Return the scorer of a bundle; raises ``UnusableModelError``."""
        model = bundle.manifest.model
        return cls(bundle.model, model.input, model.output, bundle.manifest.input_names)

    def score_row(self, inputs: Sequence[float]) -> float:
        """Return the probability for one row of inputs, NaN where missing."""
        with np.errstate(over="ignore"):
            self._row[0] = inputs
        (score,) = self.session.run(self._outputs, self._feed)
        return cast(float, score.item())

    def score(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the probabilities, shape (n,), for inputs of shape (n, inputs), NaN where missing."""
        with np.errstate(over="ignore"):
            block = np.ascontiguousarray(rows, np.float32)
        (scores,) = self.session.run(self._outputs, {self._input_name: block})
        return cast(NDArray[np.float32], scores.reshape(-1))

    def score_features(self, features: Sequence[Mapping[str, float | None]]) -> NDArray[np.float64]:
        """Return the probabilities, shape (n,), of n mappings of input name to value, ``None`` where missing.

        Raises:
            KeyError: A mapping lacks an input.
        """
        rows = np.array([[row[name] for name in self.input_names] for row in features], np.float64)
        return self.score(rows).astype(np.float64)


class BoundedScorer(Scorer):
    """The scores of a further horizon, bounded by those of the next horizon towards the model's own.

    A purchase within the shorter horizon is one within the longer, so a shorter horizon's score is at most
    ``nearer``'s, and a longer one's at least that.
    """

    def __init__(self, own: Scorer, nearer: Scorer, *, is_shorter: bool) -> None:
        self.session, self.input_names = own.session, own.input_names
        self._own, self._nearer = own, nearer
        self._bound = np.minimum if is_shorter else np.maximum

    def score_row(self, inputs: Sequence[float]) -> float:
        """Return the probability for one row of inputs, NaN where missing."""
        return float(self._bound(self._own.score_row(inputs), self._nearer.score_row(inputs)))

    def score(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the probabilities, shape (n,), for inputs of shape (n, inputs), NaN where missing."""
        return cast(NDArray[np.float32], self._bound(self._own.score(rows), self._nearer.score(rows)))


def horizon_scorers(manifest: Manifest, default: Scorer, graphs: Mapping[int, bytes]) -> dict[int, Scorer]:
    """Return the scorer of each horizon by its seconds, with ``default`` for the model's own.

    ``graphs`` are those of the further horizons, all published or all evaluated, as ``default`` is. It raises
    ``UnusableModelError`` if ONNX Runtime cannot run one.
    """
    model, own_seconds = manifest.model, manifest.horizon_seconds
    scorers = {own_seconds: default}
    for seconds in outwards(own_seconds, graphs):
        own = Scorer(graphs[seconds], model.input, model.output, manifest.input_names)
        scorers[seconds] = bounded(own, seconds, own_seconds, scorers)
    return scorers


def outwards(own_seconds: int, further: Iterable[int]) -> list[int]:
    """Return further horizons in an order in which each follows those between it and the model's own."""
    return sorted(further, key=lambda seconds: abs(seconds - own_seconds))


def bounded(own: Scorer, seconds: int, own_seconds: int, scorers: Mapping[int, Scorer]) -> BoundedScorer:
    """Return a further horizon's scorer, bounded by that of the nearest horizon on the way to the model's own."""
    least, most = sorted((seconds, own_seconds))
    nearer = min((each for each in scorers if least <= each <= most), key=lambda each: abs(each - seconds))
    return BoundedScorer(own, scorers[nearer], is_shorter=seconds < own_seconds)


def _open_session(model: bytes) -> Any:
    check_operators(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # ONNX Runtime guesses the format from the first bytes, and what is checked above is an ONNX model.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return ort.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # The exception classes of ONNX Runtime share no base class.
        raise UnusableModelError(f"ONNX Runtime {ort.__version__} cannot run the graph: {error}") from error
