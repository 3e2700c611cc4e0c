"""Whether Feast has registered what the plan says."""

import re

from fsspec.core import url_to_fs

from reprise.doctor.check import Seen
from reprise.doctor.exceptions import CheckFailedError, CheckSkippedError, RegistryError
from reprise.doctor.registry import Registered, read_registry
from reprise.features.plan import Plan
from reprise.store.feast.view import WATERMARKS

SECTION = "feast-and-the-plan-differ"
ADVICE = "run `feast -c feature_repo apply` with the plan that the materializers run"
SERVICE = "reprise"
_DATABASE = re.compile(r"^(postgresql|mysql|sqlite|snowflake|mssql|oracle)[+a-z0-9]*:")


def look_at_registry(url: str | None, project: str, plan: Plan) -> Seen:
    """Compare the state views and the hashes that are registered with the plan's.

    Raises:
        CheckFailedError: They differ, or the registry cannot be read.
        CheckSkippedError: No registry is named, or it is no file.
    """
    if url is None:
        raise CheckSkippedError("no registry is named (FEAST_REGISTRY); nothing but Feast itself needs one")
    if _DATABASE.match(url):
        raise CheckSkippedError(
            f"the registry is a database ({url.partition(':')[0]}), and files only are read here"
        )
    try:
        registered = read_registry(_read(url), project)
    except FileNotFoundError:
        raise CheckFailedError(f"{url}: there is no such file", ADVICE, SECTION) from None
    except RegistryError as error:
        raise CheckFailedError(f"{url}: {error}", ADVICE, SECTION) from error
    if problems := differences(registered, plan):
        raise CheckFailedError(f"{url}: {'; '.join(problems)}", ADVICE, SECTION)
    views = ", ".join(entity.view.name for entity in plan.entities)
    return Seen(f"{url} has {views}, by the plan's schema {plan.schema_hash[:12]}")


def differences(registered: Registered, plan: Plan) -> list[str]:
    """Return in what a registry is not as the plan says."""
    problems = []
    for view in (entity.view for entity in plan.entities):
        found = registered.views.get(view.name)
        if found is None:
            problems.append(f"the view {view.name} is not registered")
            continue
        wanted = {*(each.name for each in view.fields), WATERMARKS}
        if lacking := sorted(wanted - set(found)):
            problems.append(f"{view.name} lacks {', '.join(lacking)}")
        if others := sorted(set(found) - wanted):
            problems.append(f"{view.name} has {', '.join(others)}, which the plan has not")
    tags = registered.tags.get(SERVICE)
    if tags is None:
        problems.append(f"the feature service {SERVICE} is not registered")
        return problems
    for name, wanted_hash in (("schema", plan.schema_hash), ("plan", plan.hash)):
        if tags.get(name) != wanted_hash:
            problems.append(f"{name} hash {str(tags.get(name))[:12]}, the plan's is {wanted_hash[:12]}")
    return problems


def _read(url: str) -> bytes:
    filesystem, path = url_to_fs(url)
    data: bytes = filesystem.cat_file(path)
    return data
