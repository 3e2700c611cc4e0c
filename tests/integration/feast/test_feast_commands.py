"""Feast's own commands work on the repository as Feast's documentation says."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from reprise.events import Event
from reprise.store.feast.view import WATERMARKS
from reprise.store.online_store import OnlineStore
from support.feast_repository import CommandsRun, FeastRepository, copy_repository
from support.histories import assert_store_holds, batch_states, event_table, make_events
from support.redis import RedisServer, free_port

pytestmark = [pytest.mark.feast, pytest.mark.redis]

_START_SECONDS = 90.0


@dataclass(frozen=True)
class StartingUi:
    url: str
    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture(scope="module")
def starting_ui(applied: FeastRepository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartingUi]:
    """``feast ui``, which takes its time to start, while other tests run."""
    port, log = free_port(), tmp_path_factory.mktemp("ui") / "log"
    command = [sys.executable, "-W", "ignore", "-m", "feast.cli.cli", "-c", str(applied.path), "ui"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=applied.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        yield StartingUi(f"http://127.0.0.1:{port}", process, log)
        process.kill()


@pytest.mark.soak
def test_apply_needs_nothing_of_discovery(first_commands: CommandsRun) -> None:
    assert "reprise" in first_commands.modules
    assert not {"featuretools", "definitions", "woodwork", "sklearn"} & set(first_commands.modules)


def test_apply_registers_exactly_what_the_plan_says(applied: FeastRepository, feast_store: Any) -> None:
    plan = applied.plan
    views = {view.name: view for view in feast_store.list_feature_views()}
    assert set(views) == {entity.view.name for entity in plan.entities}
    for entity in plan.entities:
        view = views[entity.view.name]
        assert {field.name for field in view.entity_columns} == set(entity.view.join_keys)
        types = {field.name: str(field.dtype) for field in view.features}
        kinds = {"int64": "Int64", "double": "Float64", "bytes": "Bytes"}
        assert types == {**{f.name: kinds[f.kind] for f in entity.view.fields}, WATERMARKS: "Bytes"}
    (on_demand,) = feast_store.list_on_demand_feature_views()
    assert tuple(field.name for field in on_demand.features) == plan.input_names


@pytest.mark.soak
def test_the_lists_name_the_views_and_a_service_of_the_plan(
    applied: FeastRepository, first_commands: CommandsRun
) -> None:
    _, views, services = first_commands.said
    assert {line.split()[0] for line in views.splitlines()[1:]} == {
        "user_state", "product_state", "pair_state", "features",
    }  # fmt: skip
    assert f"reprise_{applied.plan.hash[:12]}" in services


def test_features_are_finished_by_the_plan_that_was_applied(
    applied: FeastRepository, feast_store: Any
) -> None:
    (on_demand,) = feast_store.list_on_demand_feature_views()
    assert on_demand.tags == {"plan": applied.plan.hash}
    source = on_demand.feature_transformation.udf_string
    assert applied.plan.hash in source
    assert "plan.json" not in source


@pytest.mark.soak
def test_materialize_incremental_brings_every_entity_however_long_silent(
    redis_server: RedisServer, tmp_path: Path, starting_ui: StartingUi
) -> None:
    repository = copy_repository(tmp_path, redis_server)  # one that nothing has been materialized of
    events = make_events(200)
    long_ago = [event_years_before(event, years=9) for event in events[:100]]
    history = [*long_ago, *events[100:]]
    repository.write_states(event_table(history))
    last = max(event.timestamp_us for event in history) // 1_000_000 + 1
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(last))
    repository.run(["apply"], ["materialize-incremental", end])
    settings = redis_server.settings()
    with OnlineStore.connect(settings) as store:
        assert_store_holds(store, repository.plan, batch_states(repository.plan, history))


def event_years_before(event: Event, *, years: int) -> Event:
    moved = event.timestamp_us - years * 365 * 86_400_000_000
    return replace(event, user_id=f"silent-{event.user_id}", timestamp_us=moved)


@pytest.mark.soak
def test_the_ui_serves_the_registry(starting_ui: StartingUi) -> None:
    assert b"<title>" in fetch(starting_ui, "/")
    assert b'"user_state"' in fetch(starting_ui, "/api/v1/feature_views?project=reprise")


def fetch(ui: StartingUi, path: str) -> bytes:
    """Get a page of a server that may still be starting."""
    give_up = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urlopen(ui.url + path, timeout=10) as answer:
                body: bytes = answer.read()
                return body
        except URLError:
            assert ui.process.poll() is None, ui.log.read_text()
            assert time.monotonic() < give_up, f"{ui.url} does not answer"
            time.sleep(0.2)
