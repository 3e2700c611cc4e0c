"""A copy of the Feast repository, its states, and Feast's own commands on it."""

# ruff: noqa: PLC0415 - Feast takes seconds to import, which only what uses it should pay

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.features.feast.state_files import StateRowsReport, write_state_rows
from reprise.features.plan import Plan
from support.plans import REPOSITORY, checked_in_plan
from support.redis import RedisServer

# One process for several commands: importing Feast is most of the time that each takes.
_DRIVER = """
import contextlib, io, json, sys
from feast.cli.cli import cli
repository, commands = sys.argv[1], json.loads(sys.argv[2])
said = []
for command in commands:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        cli(["-c", repository, *command], standalone_mode=False)
    said.append(output.getvalue())
print(json.dumps({"said": said, "modules": [name for name in sys.modules if "." not in name]}))
"""


@dataclass(frozen=True)
class CommandsRun:
    """What each of Feast's commands printed, and which packages they had loaded in the end."""

    said: list[str]
    modules: list[str]


@dataclass(frozen=True)
class FeastRepository:
    """A repository in a folder of its own, whose online store is a server of the test's."""

    path: Path
    redis: RedisServer

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "REDIS_HOST": self.redis.host, "REDIS_PORT": str(self.redis.port)}

    @property
    def plan(self) -> Plan:
        return Plan.load(self.path / "plan" / "plan.json")

    def run(self, *commands: Sequence[str]) -> CommandsRun:
        arguments = [sys.executable, "-W", "ignore", "-c", _DRIVER, str(self.path), json.dumps(commands)]
        done = subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
        return CommandsRun(**json.loads(done.stdout.splitlines()[-1]))

    def apply(self) -> None:
        from feast.repo_operations import apply_total

        with self.store() as store, chdir(self.path), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [str(self.path), *sys.path])
            apply_total(store.config, self.path, skip_source_validation=False)

    def write_states(self, events: pa.Table) -> StateRowsReport:
        """Write the files that Feast's sources read."""
        source = self.path / "events.parquet"
        pq.write_table(events, source)
        return write_state_rows(source, self.path / "data" / "states", self.plan)

    @contextmanager
    def store(self) -> Iterator[Any]:
        """Feast's own SDK on the repository."""
        from feast import FeatureStore

        with pytest.MonkeyPatch.context() as patch:
            for name in ("REDIS_HOST", "REDIS_PORT"):
                patch.setenv(name, self.environment[name])
            yield FeatureStore(repo_path=str(self.path))


def copy_repository(path: Path, redis: RedisServer) -> FeastRepository:
    """Copy what Feast needs of the repository, and the module of definitions, which it must leave alone."""
    for name in ("feature_store.yaml", "features.py", "definitions.py", ".feastignore"):
        shutil.copy(REPOSITORY / name, path / name)
    (path / "plan").mkdir()
    plan = Plan.from_dict(_with_a_key(checked_in_plan().to_dict()))
    (path / "plan" / "plan.json").write_bytes(plan.dumps())
    return FeastRepository(path, redis)


def features_of(answer: pd.DataFrame, plan: Plan) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the model inputs of Feast's answer, shape (rows, inputs), in the plan's order."""
    columns = [f"features__{name}" for name in plan.input_names]
    return answer[columns].astype("float64").to_numpy()


def entity_rows(requests: pd.DataFrame) -> list[dict[str, Any]]:
    """Return requests as the SDK takes them online: a missing amount or type as null."""
    names = ["user_id", "product_id", "timestamp_us", "amount", "is_purchase"]
    rows: list[dict[str, Any]] = requests[names].to_dict("records")
    return [{name: None if pd.isna(value) else value for name, value in row.items()} for row in rows]


def with_event_timestamps(requests: pd.DataFrame) -> pd.DataFrame:
    """Return requests as the SDK takes them for history."""
    return requests.assign(event_timestamp=pd.to_datetime(requests["timestamp_us"], unit="us", utc=True))


def with_positions(events: pa.Table, places: Sequence[tuple[int, int]], topic_id: str) -> pa.Table:
    """Return events with their partition and offset, as the archive has them."""
    return (
        events.append_column("topic_id", pa.array([topic_id] * len(places)))
        .append_column("partition", pa.array([partition for partition, _ in places], pa.int32()))
        .append_column("offset", pa.array([offset for _, offset in places], pa.int64()))
    )


def _with_a_key(document: dict[str, Any]) -> dict[str, Any]:
    """Return a plan whose users keep the key of an event, an integer that no double can hold."""
    state, first = document["entities"]["user"]["state"], {"kind": "first_amount", "frame": "purchases"}
    if first not in state:
        state.append(first)
    return document
