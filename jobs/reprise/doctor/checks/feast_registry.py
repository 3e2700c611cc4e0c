"""Whether Feast has registered the compiled plan; the registry is read without Feast.

The registry is one protobuf message, ``feast.core.Registry``. The doctor's image has the protobuf library without
Feast's messages, so every field is an unknown field, read by its number. The numbers are those of Feast 0.67's
``protos/feast/core/*.proto``, and a test reads a registry that Feast itself has written.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from fsspec.core import url_to_fs
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from reprise.doctor.check import CheckFailedError, CheckSkippedError, Observation, Remedy
from reprise.features.plan import Plan
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
_LENGTH_DELIMITED = 2  # wire type of messages and texts


def check_registry(url: str | None, project: str, plan: Plan) -> Observation:
    """Compare the registered state views and hashes with the plan."""
    if url is None:
        raise CheckSkippedError("no registry is configured (FEAST_REGISTRY); only Feast itself needs one")
    if _DATABASE.match(url):
        raise CheckSkippedError(f"the registry is a database ({url.partition(':')[0]}); only files are read")
    try:
        filesystem, path = url_to_fs(url)
        views, tags = _registered(filesystem.cat_file(path), project)
    except FileNotFoundError:
        raise CheckFailedError(f"{url}: there is no such file", REGISTRY) from None
    except (DecodeError, UnicodeDecodeError) as error:
        raise CheckFailedError(f"{url}: not a registry of Feast: {error}", REGISTRY) from error
    if problems := [*_view_differences(views, plan), *_hash_differences(tags.get(SERVICE), plan)]:
        raise CheckFailedError(f"{url}: {'; '.join(problems)}", REGISTRY)
    names = ", ".join(entity.view.name for entity in plan.entities)
    return Observation(f"{url} has {names}, with the plan's schema {plan.schema_hash[:12]}")


def _view_differences(views: Mapping[str, Collection[str]], plan: Plan) -> Iterator[str]:
    for view in (entity.view for entity in plan.entities):
        if view.name not in views:
            yield f"the view {view.name} is not registered"
            continue
        found, wanted = set(views[view.name]), {*(each.name for each in view.fields), WATERMARKS}
        if missing := sorted(wanted - found):
            yield f"{view.name} lacks {', '.join(missing)}"
        if extra := sorted(found - wanted):
            yield f"{view.name} has {', '.join(extra)}, which the plan does not have"


def _hash_differences(tags: Mapping[str, str] | None, plan: Plan) -> Iterator[str]:
    if tags is None:
        yield f"the feature service {SERVICE} is not registered"
        return
    for name, wanted in (("schema", plan.schema_hash), ("plan", plan.hash)):
        if tags.get(name) != wanted:
            yield f"{name} hash {str(tags.get(name))[:12]}, the plan's is {wanted[:12]}"


def _registered(data: bytes, project: str) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    """Return a project's feature names by feature view, and its tags by feature service."""
    registry = _fields(data)
    specs = {
        kind: [spec for spec in map(_spec, registry[kind]) if _text(spec, _PROJECT) == project]
        for kind in (_FEATURE_VIEWS, _FEATURE_SERVICES)
    }
    views = {
        _text(spec, _NAME): [_text(_fields(feature), _NAME) for feature in spec[_FEATURES_OR_TAGS]]
        for spec in specs[_FEATURE_VIEWS]
    }
    tags = {
        _text(spec, _NAME): {
            _text(tag, _KEY): _text(tag, _VALUE) for tag in map(_fields, spec[_FEATURES_OR_TAGS])
        }
        for spec in specs[_FEATURE_SERVICES]
    }
    return views, tags


def _spec(message: bytes) -> Mapping[int, list[bytes]]:
    return _fields(b"".join(_fields(message)[_SPEC]))


def _fields(message: bytes) -> Mapping[int, list[bytes]]:
    """Return the length-delimited fields of a message (messages, texts) by their numbers."""
    fields: defaultdict[int, list[bytes]] = defaultdict(list)
    for found in UnknownFieldSet(Empty.FromString(message)):
        if found.wire_type == _LENGTH_DELIMITED:
            fields[found.field_number].append(found.data)
    return fields


def _text(message: Mapping[int, list[bytes]], number: int) -> str:
    return b"".join(message[number]).decode()
