"""A bundle's ONNX graph in ONNX Runtime, with one thread."""

import math
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from reprise.bundle import Bundle
from reprise.predictor.exceptions import ModelRefusedError

_TOLERANCE = 1e-5


class Model:
    """Gives P(buys within the horizon) for rows of inputs.

    Calls are synchronous and run on the caller's thread: a row takes less time than a thread hop would. The
    buffer of one row is kept, so an instance belongs to one thread.

    Args:
        graph: Bytes of the ONNX graph.
        input_name: Its input, float32 [rows, inputs].
        output_name: Its output, float32 [rows] or [rows, 1].
        inputs: How many inputs a row has.

    Raises:
        ModelRefusedError: ONNX Runtime cannot run the graph, or its input and output are of another form.
    """

    def __init__(self, graph: bytes, input_name: str, output_name: str, inputs: int) -> None:
        self._session = _session(graph)
        _check_form(self._session, input_name, output_name, inputs)
        self._input_name = input_name
        self._outputs = [output_name]
        self._row = np.zeros((1, inputs), np.float32)
        self._feed = {input_name: self._row}
        self._check_answers(inputs)

    @classmethod
    def of(cls, bundle: Bundle) -> "Model":
        """Return the model of a bundle.

        Raises:
            ModelRefusedError: It cannot be run here.
        """
        form = bundle.manifest.model
        return cls(bundle.model, form.input, form.output, len(bundle.manifest.inputs))

    def predict_one(self, inputs: list[float]) -> float:
        """Return the probability for one row of inputs, NaN where missing."""
        # What is beyond float32 becomes infinite, which is on the same side of every threshold of a tree.
        with np.errstate(over="ignore"):
            self._row[0] = inputs
        (score,) = self._session.run(self._outputs, self._feed)
        return cast(float, score.item())

    def predict_many(self, inputs: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the probabilities, shape (n,), for inputs of shape (n, inputs), NaN where missing."""
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(inputs, np.float32)
        (scores,) = self._session.run(self._outputs, {self._input_name: rows})
        return cast(NDArray[np.float32], scores.reshape(-1))

    def _check_answers(self, inputs: int) -> None:
        for value in (0.0, 1.0, math.nan):
            many = self.predict_many(np.full((2, inputs), value))
            if many.shape != (2,):
                raise ModelRefusedError(f"2 rows of {value} give {many.size} numbers; expected 2")
            one = self.predict_one([value] * inputs)
            if not 0.0 <= one <= 1.0 or not np.allclose(many, one, rtol=0.0, atol=_TOLERANCE):
                raise ModelRefusedError(
                    f"a row of {value} gives {one} alone and {many.tolist()} twice; "
                    "expected the same probability"
                )


def _session(graph: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(graph, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime raises classes of its own that share no base; all of them say that it will not run.
        raise ModelRefusedError(f"ONNX Runtime {ort.__version__} cannot run the graph: {error}") from error


def _check_form(session: Any, input_name: str, output_name: str, inputs: int) -> None:
    found = session.get_inputs()
    if [node.name for node in found] != [input_name]:
        raise ModelRefusedError(
            f"the graph takes {', '.join(node.name for node in found)}; the manifest says {input_name}"
        )
    (node,) = found
    if node.type != "tensor(float)" or len(node.shape) != 2 or node.shape[1] not in (inputs, None):
        raise ModelRefusedError(
            f"input {input_name}: expected tensor(float) [rows, {inputs}], got {node.type} {node.shape}"
        )
    outputs = [node.name for node in session.get_outputs()]
    if output_name not in outputs:
        raise ModelRefusedError(f"the graph gives {', '.join(outputs)}; the manifest says {output_name}")
