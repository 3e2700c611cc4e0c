"""Files of events, and copies of the feature repository, for tests of the commands."""

import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from reprise.features.discovery.planner import PlanningResult, make_plan, write_sample
from support.discovered import definition
from support.plans import REPOSITORY


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of the synthetic shop that features are planned by."""
    path = tmp_path_factory.mktemp("sample") / "sample.parquet"
    write_sample(path)
    return path


@pytest.fixture(scope="session")
def few_users(sample: Path) -> Path:
    """Everything that a sixteenth of the sample's users did: enough to plan by, and quick."""
    events = pq.read_table(sample)
    users = pc.unique(events["user_id"])[::16]
    path = sample.with_name("few_users.parquet")
    pq.write_table(events.filter(pc.is_in(events["user_id"], users)), path)
    return path


@pytest.fixture(scope="session")
def some_csv(few_users: Path) -> Path:
    """The first 1,500 events of the few, as somebody's CSV."""
    path = few_users.with_name("some.csv")
    pacsv.write_csv(pq.read_table(few_users).slice(0, 1500).drop_columns(["metadata"]), path)
    return path


@pytest.fixture(scope="session")
def planned(few_users: Path) -> PlanningResult:
    """The definition's plan by what the few did."""
    return make_plan(definition(), few_users, timedelta(days=30))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the feature repository, to change."""
    copy = tmp_path / "feature_repo"
    copy.mkdir()
    shutil.copy(REPOSITORY / "definitions.py", copy)
    shutil.copytree(REPOSITORY / "plan", copy / "plan")
    return copy
