"""Whether Feast has registered the compiled plan; the registry is read without Feast.

The registry is one protobuf message, ``feast.core.Registry``. Four fields of three messages are needed; their numbers
are those of Feast 0.67's ``protos/feast/core/*.proto``, and a test reads a registry that Feast itself has written.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fsspec.core import url_to_fs

from reprise.doctor.check import CheckFailedError, CheckSkippedError, DoctorError, Observation, Remedy
from reprise.features.plan import Plan
from reprise.store.exceptions import ProtobufError
from reprise.store.feast.protobuf import decode_varint
from reprise.store.feast.view import WATERMARKS

REGISTRY = Remedy(
    "run `feast -c feature_repo apply` with the plan that the materializers run", "feast-and-the-plan-differ"
)
SERVICE = "reprise"
_DATABASE = re.compile(r"^(postgresql|mysql|sqlite|snowflake|mssql|oracle)[+a-z0-9]*:")
_FEATURE_VIEWS, _FEATURE_SERVICES = 6, 7  # of Registry
_SPEC = 1  # of FeatureView and FeatureService
_NAME, _PROJECT, _FEATURES_OR_TAGS = 1, 2, 4  # of FeatureViewSpec (features) and FeatureServiceSpec (tags)
_KEY, _VALUE = 1, 2  # of a map's entry
_VARINT, _LENGTH = 0, 2
_FIXED_WIDTHS = {1: 8, 5: 4}


class RegistryError(DoctorError):
    """The registry cannot be parsed."""


@dataclass(frozen=True)
class RegisteredProject:
    """What a registry holds about one project.

    Attributes:
        views: Feature names by feature view.
        tags: Tags by feature service.
    """

    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def check_registry(url: str | None, project: str, plan: Plan) -> Observation:
    """Compare the registered state views and hashes with the plan.

    Raises:
        CheckFailedError: They differ, or the registry cannot be read.
        CheckSkippedError: No registry is configured, or it is a database.
    """
    if url is None:
        raise CheckSkippedError("no registry is configured (FEAST_REGISTRY); only Feast itself needs one")
    if _DATABASE.match(url):
        raise CheckSkippedError(f"the registry is a database ({url.partition(':')[0]}); only files are read")
    try:
        filesystem, path = url_to_fs(url)
        registered = parse_registry(filesystem.cat_file(path), project)
    except FileNotFoundError:
        raise CheckFailedError(f"{url}: there is no such file", REGISTRY) from None
    except RegistryError as error:
        raise CheckFailedError(f"{url}: {error}", REGISTRY) from error
    if problems := registry_differences(registered, plan):
        raise CheckFailedError(f"{url}: {'; '.join(problems)}", REGISTRY)
    views = ", ".join(entity.view.name for entity in plan.entities)
    return Observation(f"{url} has {views}, with the plan's schema {plan.schema_hash[:12]}")


def registry_differences(registered: RegisteredProject, plan: Plan) -> list[str]:
    """Return how a registry differs from the plan, one text per difference."""
    problems = []
    for view in (entity.view for entity in plan.entities):
        found = registered.views.get(view.name)
        if found is None:
            problems.append(f"the view {view.name} is not registered")
            continue
        wanted = {*(each.name for each in view.fields), WATERMARKS}
        if missing := sorted(wanted - set(found)):
            problems.append(f"{view.name} lacks {', '.join(missing)}")
        if extra := sorted(set(found) - wanted):
            problems.append(f"{view.name} has {', '.join(extra)}, which the plan does not have")
    tags = registered.tags.get(SERVICE)
    if tags is None:
        return [*problems, f"the feature service {SERVICE} is not registered"]
    for name, wanted_hash in (("schema", plan.schema_hash), ("plan", plan.hash)):
        if tags.get(name) != wanted_hash:
            problems.append(f"{name} hash {str(tags.get(name))[:12]}, the plan's is {wanted_hash[:12]}")
    return problems


def parse_registry(data: bytes, project: str) -> RegisteredProject:
    """Return what the bytes of a registry file hold about a project.

    Raises:
        RegistryError: They are not a registry.
    """
    views: dict[str, tuple[str, ...]] = {}
    tags: dict[str, dict[str, str]] = {}
    try:
        for number, message in _messages(data):
            if number not in (_FEATURE_VIEWS, _FEATURE_SERVICES):
                continue
            spec = next((part for at, part in _messages(message) if at == _SPEC), b"")
            if _text(spec, _PROJECT) != project:
                continue
            repeated = [part for at, part in _messages(spec) if at == _FEATURES_OR_TAGS]
            if number == _FEATURE_VIEWS:
                views[_text(spec, _NAME)] = tuple(_text(feature, _NAME) for feature in repeated)
            else:
                tags[_text(spec, _NAME)] = {_text(entry, _KEY): _text(entry, _VALUE) for entry in repeated}
    except (ProtobufError, UnicodeDecodeError) as error:
        raise RegistryError(f"not a registry of Feast: {error}") from error
    return RegisteredProject(views, tags)


def _text(message: bytes, number: int) -> str:
    return next((part.decode() for at, part in _messages(message) if at == number), "")


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the length-delimited fields (messages, texts, bytes) with their numbers."""
    position = 0
    while position < len(data):
        tag, position = decode_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, position = decode_varint(data, position)
        elif kind == _LENGTH:
            length, position = decode_varint(data, position)
            if position + length > len(data):
                raise ProtobufError("a field extends past the end")
            yield number, data[position : position + length]
            position += length
        elif kind in _FIXED_WIDTHS:
            position += _FIXED_WIDTHS[kind]
        else:
            raise ProtobufError(f"unknown wire type {kind}")
