"""The parts of an ONNX file that are read without the ONNX package, and the check of its operators."""

from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from reprise.bundle.exceptions import UnusableModelError

OPERATORS = frozenset(
    ("TreeEnsembleRegressor", "Add", "Clip", "Log", "Mul", "Sigmoid", "Split", "Squeeze", "Sub")
)
"""The operators that the trainer writes."""
LINEAR_OPERATORS = frozenset(("Identity", "IsNaN", "MatMul", "ReduceMean", "Where"))
"""Those of linear models with missing values. Like the others they have no subgraph, and read and write nothing."""
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_EXTERNAL = 1

_Field = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}
# The part of https://github.com/onnx/onnx/blob/main/onnx/onnx-ml.proto that is read: name, number, type, repeated.
_MESSAGES = {
    "Tensor": [("data_location", 14, "int32", False), ("external_data", 13, "bytes", True)],
    "Attribute": [
        ("name", 1, "string", False),
        ("tensor", 5, "bytes", False),
        ("graph", 6, "bytes", False),
        ("floats", 7, "float", True),
        ("ints", 8, "int64", True),
        ("tensors", 10, "bytes", True),
        ("graphs", 11, "bytes", True),
        ("sparse_tensor", 22, "bytes", False),
        ("sparse_tensors", 23, "bytes", True),
    ],
    "Node": [
        ("name", 3, "string", False),
        ("op_type", 4, "string", False),
        ("attribute", 5, "Attribute", True),
        ("domain", 7, "string", False),
    ],
    "Graph": [
        ("node", 1, "Node", True),
        ("initializer", 5, "Tensor", True),
        ("sparse_initializer", 15, "bytes", True),
    ],
    "Model": [("graph", 7, "Graph", False), ("functions", 25, "bytes", True)],
}
_NUMBERS = {"name", "floats", "ints"}


def parse_model(data: bytes) -> Any:
    """Return the message of an ONNX model; raises ``UnusableModelError`` if the bytes are none."""
    try:
        return _model_type().FromString(data)
    except DecodeError as error:
        raise UnusableModelError(f"the graph is no ONNX model: {error}") from None


def check_operators(data: bytes) -> None:
    """Check that a graph has only allowed operators, no subgraph, no function, and no data in other files.

    Raises:
        UnusableModelError: It has another one, which is named.
    """
    model = parse_model(data)
    graph = model.graph
    for node in graph.node:
        if node.op_type not in OPERATORS | LINEAR_OPERATORS or node.domain not in _DOMAINS:
            name = f"{node.domain}.{node.op_type}".lstrip(".")
            raise UnusableModelError(f"the graph's operator {name} is not allowed")
        for attribute in node.attribute:
            if unexpected := {field.name for field, _ in attribute.ListFields()} - _NUMBERS:
                raise UnusableModelError(
                    f"{node.op_type}: its attribute {attribute.name} has a {min(unexpected)}, which is not allowed"
                )
    external = any(each.data_location == _EXTERNAL or each.external_data for each in graph.initializer)
    if model.functions or graph.sparse_initializer or external:
        raise UnusableModelError("the graph has functions, sparse constants or data in other files")


@lru_cache(maxsize=1)
def _model_type() -> Any:
    """Return the message type of an ONNX model; what it does not declare is skipped."""
    file = descriptor_pb2.FileDescriptorProto(name="reprise/onnx.proto", package="reprise", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in _KINDS:
                added.type = _KINDS[kind]
            else:
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".reprise.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("reprise.Model"))
