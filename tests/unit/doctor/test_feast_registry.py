import importlib
from pathlib import Path
from typing import Any

import pytest

from reprise.doctor.check import CheckFailedError, CheckSkippedError
from reprise.doctor.checks.feast_registry import check_registry
from reprise.features.plan import Plan
from support.plans import checked_in_plan
from support.served_bundles import small_plan


def registry(plan: Plan, path: Path, project: str = "reprise") -> str:
    """Write the registry of a plan, by Feast's own protobuf."""
    protos = pytest.importorskip("feast.protos.feast.core.Registry_pb2")
    objects = importlib.import_module("reprise.features.feast.registry_objects")
    made: Any = protos.Registry()
    for each in objects.feast_objects(plan, "states"):
        kind = type(each).__name__
        target = {"FeatureView": made.feature_views, "FeatureService": made.feature_services}.get(kind)
        if target is not None:
            proto = each.to_proto()
            proto.spec.project = project
            target.append(proto)
    path.write_bytes(made.SerializeToString())
    return str(path)


@pytest.mark.feast
def test_a_registry_that_feast_has_written_from_the_plan_is_well(tmp_path: Path) -> None:
    url = registry(checked_in_plan(), tmp_path / "registry.db")
    seen = check_registry(url, "reprise", checked_in_plan())
    assert "user_state, product_state, pair_state" in seen.text
    assert check_registry(f"file://{url}", "reprise", checked_in_plan())


@pytest.mark.feast
def test_a_registry_of_another_plan_fails_with_every_difference(tmp_path: Path) -> None:
    url = registry(small_plan(), tmp_path / "registry.db")
    with pytest.raises(CheckFailedError, match=r"user_state lacks .*; .*schema hash .*; plan hash") as failed:
        check_registry(url, "reprise", checked_in_plan())
    assert "feast -c feature_repo apply" in failed.value.remedy.advice
    assert failed.value.remedy.section == "feast-and-the-plan-differ"


@pytest.mark.feast
def test_a_registry_of_another_project_has_nothing_of_this_one(tmp_path: Path) -> None:
    url = registry(checked_in_plan(), tmp_path / "registry.db", "another")
    with pytest.raises(
        CheckFailedError, match=r"the view user_state is not registered.*service reprise is not"
    ):
        check_registry(url, "reprise", checked_in_plan())


def test_a_file_that_is_missing_or_no_registry_fails(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with pytest.raises(CheckFailedError, match="there is no such file"):
        check_registry(str(path), "reprise", checked_in_plan())
    path.write_bytes(b"\xff\xff not protobuf")
    with pytest.raises(CheckFailedError, match="registry of Feast"):
        check_registry(str(path), "reprise", checked_in_plan())


@pytest.mark.parametrize(
    ("url", "reason"), [(None, "FEAST_REGISTRY"), ("postgresql+psycopg://db/feast", "is a database")]
)
def test_a_registry_that_is_not_named_or_no_file_is_skipped_with_the_reason(
    url: str | None, reason: str
) -> None:
    with pytest.raises(CheckSkippedError, match=reason):
        check_registry(url, "reprise", checked_in_plan())
