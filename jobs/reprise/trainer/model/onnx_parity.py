"""Scores of many rows: from ONNX Runtime as it serves, and from scikit-learn to compare with."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import onnxruntime
from sklearn.ensemble import RandomForestClassifier

from reprise.trainer.exceptions import GraphMismatchError
from reprise.trainer.model.beta_calibration import BetaCalibration
from reprise.trainer.model.onnx_graph import INPUT, OUTPUT

TOLERANCE = 1e-5
"""Largest difference between ONNX Runtime and scikit-learn with which a bundle is published."""

_CHUNK = 16_384
_SINGLE_ROWS = 256

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


class GraphScorer:
    """ONNX Runtime with one thread, as the predictor runs it."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def score(self, rows: Matrix) -> Floats:
        """Return the probability of each row."""
        return _in_chunks(rows, self.run)

    def run(self, rows: Matrix) -> Floats:
        """Return the probabilities of rows that are one C-contiguous block, in one call."""
        return np.asarray(self._session.run([OUTPUT], {INPUT: rows})[0], dtype=np.float64)


def score_forest(forest: RandomForestClassifier, rows: Matrix, *, jobs: int) -> Floats:
    """Return the forest's share of votes for a purchase, of each row.

    The trees of a row are summed in their order whatever the number of threads, which scikit-learn's own
    threads do not promise.
    """
    previous, forest.n_jobs = forest.n_jobs, 1
    try:
        return _in_chunks(rows, lambda chunk: forest.predict_proba(chunk)[:, 1], jobs=jobs)
    finally:
        forest.n_jobs = previous


def check_equal(
    scorer: GraphScorer,
    forest: RandomForestClassifier,
    calibration: BetaCalibration,
    rows: Matrix,
    *,
    jobs: int,
) -> float:
    """Return the largest difference between ONNX and scikit-learn over all rows, in blocks and one by one.

    Raises:
        GraphMismatchError: It is above the tolerance, or an answer is no number.
    """
    expected = calibration.apply(score_forest(forest, rows, jobs=jobs))
    difference = float(np.abs(scorer.score(rows) - expected).max())
    for position in np.unique(np.linspace(0, len(rows) - 1, _SINGLE_ROWS).astype(np.int64)):
        answer = scorer.run(np.ascontiguousarray(rows[position : position + 1]))
        difference = max(difference, float(abs(answer[0] - expected[position])))
    if not difference <= TOLERANCE:
        raise GraphMismatchError(len(rows), difference, TOLERANCE)
    return difference


def _in_chunks(rows: Matrix, score: Callable[[Matrix], Floats], *, jobs: int = 1) -> Floats:
    if len(rows) == 0:
        return np.empty(0, dtype=np.float64)
    chunks = (np.ascontiguousarray(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK))
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        return np.concatenate(list(_mapped(pool, score, chunks)))


def _mapped(
    pool: ThreadPoolExecutor, score: Callable[[Matrix], Floats], chunks: Iterator[Matrix]
) -> Iterator[Floats]:
    yield from pool.map(score, chunks)
