"""What Feast's registry says of a project, read without Feast.

The registry is one protobuf message, ``feast.core.Registry``; of it, four fields of three messages are needed. Their
numbers are those of Feast 0.67's ``protos/feast/core/*.proto``, and a test reads what Feast itself has written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reprise.doctor.exceptions import RegistryError
from reprise.store.exceptions import ProtobufError
from reprise.store.feast.protobuf import decode_varint

_FEATURE_VIEWS, _FEATURE_SERVICES = 6, 7  # of Registry
_SPEC, _NAME, _PROJECT, _FEATURES, _TAGS = (
    1,
    1,
    2,
    4,
    4,
)  # of FeatureView and FeatureService, and of their specs
_KEY, _VALUE = 1, 2  # of an entry of a map
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True)
class Registered:
    """What is registered of one project.

    Attributes:
        views: The names of the features of each feature view, by its name.
        tags: The tags of each feature service, by its name.
    """

    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_registry(data: bytes, project: str) -> Registered:
    """Return what a registry's bytes say of a project.

    Raises:
        RegistryError: They are no registry.
    """
    views: dict[str, tuple[str, ...]] = {}
    tags: dict[str, dict[str, str]] = {}
    try:
        for number, message in _messages(data):
            if number not in (_FEATURE_VIEWS, _FEATURE_SERVICES):
                continue
            spec = next((part for at, part in _messages(message) if at == _SPEC), b"")
            name, of, repeated = _named(spec)
            if of != project:
                continue
            if number == _FEATURE_VIEWS:
                views[name] = tuple(_text(feature, _NAME) for feature in repeated)
            else:
                tags[name] = {_text(entry, _KEY): _text(entry, _VALUE) for entry in repeated}
    except (ProtobufError, UnicodeDecodeError) as error:
        raise RegistryError(f"this is no registry of Feast: {error}") from error
    return Registered(views, tags)


def _named(spec: bytes) -> tuple[str, str, list[bytes]]:
    """Return the name, the project, and the features or tags, which have the same number in both specs."""
    assert _FEATURES == _TAGS
    parts = list(_messages(spec))
    return _text(spec, _NAME), _text(spec, _PROJECT), [part for number, part in parts if number == _FEATURES]


def _text(message: bytes, number: int) -> str:
    return next((part.decode() for at, part in _messages(message) if at == number), "")


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields that have a length (messages, texts, bytes), with their numbers."""
    position = 0
    while position < len(data):
        tag, position = decode_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, position = decode_varint(data, position)
        elif kind == _LENGTH:
            length, position = decode_varint(data, position)
            if position + length > len(data):
                raise ProtobufError("a field goes on past the end")
            yield number, data[position : position + length]
            position += length
        elif kind in _WIDTHS:
            position += _WIDTHS[kind]
        else:
            raise ProtobufError(f"a field of kind {kind}")
