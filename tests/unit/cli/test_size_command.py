"""``reprise size``: the formulas, the simulation against closed forms, and the page that shows both.

After a deliberate change of the output, write the page anew with
REPRISE_WRITE_DOCS=1 python -m pytest tests/unit/cli/test_size_command.py
"""

import json
import os
import re
import shlex
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reprise.cli.main import command
from reprise.cli.size.report import scenarios
from reprise.cli.size.simulation import Outage, simulate
from reprise.cli.size.sizes import Load, Margins, size
from reprise.cli.size.unit_costs import UnitCosts
from reprise.log import EVENTS, PREDICTIONS
from reprise.store.settings import DuplicateWindowSettings

DOCS = Path(__file__).parents[3] / "docs"
USERS = 100_000
LOAD = ("--events-per-day", "1e9", "--users", "5e6", "--products", "5e5")
WRITE = os.environ.get("REPRISE_WRITE_DOCS") == "1"
LOADS = [
    Load(day, day / 20, day / 200, predictions_per_second=day / 5e4) for day in (1e7, 1e8, 1e9, 1e10, 1e11)
]


def test_the_costs_are_those_that_make_bench_measured() -> None:
    measured, own = UnitCosts.of(json.loads((DOCS / "bench.json").read_bytes())), UnitCosts()
    for name in UnitCosts.__dataclass_fields__:
        assert getattr(own, name) == pytest.approx(getattr(measured, name), rel=0.01), name


def test_retentions_are_those_of_the_platform() -> None:
    load, window = Load(1, 1, 1), DuplicateWindowSettings.model_fields["duplicate_window_seconds"].default
    assert EVENTS.retention == PREDICTIONS.retention == timedelta(days=load.kafka_days)
    assert load.duplicate_hours == window / 3600


def test_a_load_is_sized_by_hand() -> None:
    gib = 2.0**30
    costs = replace(
        UnitCosts(), materializer_us=100.0, predictor_us=200.0, redis_us=10.0, training_us=36.0, spark_us=360.0,
        user_bytes=1_000.0, product_bytes=500.0, pair_bytes=400.0, event_id_bytes=64.0,
        event_archive_bytes=gib / 1e6, prediction_archive_bytes=gib / 1e6,
    )  # fmt: skip
    load = Load(8.64e8, 1e6, 1e5, pairs_per_user=10, predictions_per_second=10_000, peak=3)
    found = size(load, costs, Margins(utilization=0.5, zones=3))
    assert load.peak_events == 30_000
    by_name = {each.name: each for each in found.components}
    # 3 cores of work, at half of a core each, with a third of them lost, are 9; the next number that divides 24 is 12
    assert by_name["materializer"].instances == found.materializers == 12
    assert found.partitions == 24
    assert by_name["predictor"].instances == 6
    rows_gib = (1e6 * (1_000 + 10 * 400) + 1e5 * 500 + 8.64e8 * 64) / gib
    assert by_name["redis"].instances == 2 * np.ceil(rows_gib / (16 * 0.6))
    assert found.archive_gib == pytest.approx(365 * (864 + 86_400 * 10_000 / 3 / 1e6))
    assert found.training_core_hours == pytest.approx(180 * 8.64e8 * 36e-6 / 3600)
    assert found.spark_core_hours == pytest.approx(15_552)
    assert found.spark_executors == 972  # of four cores, in four hours


def test_more_load_never_needs_less() -> None:
    days = np.geomspace(1e6, 1e11, 400)
    sizes = [size(Load(day, day / 20, day / 200), UnitCosts(), Margins()) for day in days]
    for less, more in pairwise(sizes):
        for one, other in zip(less.components, more.components, strict=True):
            assert (one.instances, one.memory_gib) <= (other.instances, other.memory_gib), one.name
        assert less.partitions <= more.partitions


def test_a_backlog_grows_and_falls_as_a_queue_does() -> None:
    # For 300 s twice the capacity arrives, then half of it. The last event waits 300 s, and the backlog of
    # 300 s of capacity falls by half of the capacity each second.
    rates = np.concatenate([np.full(300, 4_000.0), np.full(1_200, 1_000.0)])
    found = simulate(rates, 12, 2, 1_000.0, USERS, ends=300)
    assert found.largest_lag == pytest.approx(300, abs=15)
    assert found.caught_up_after == pytest.approx(600, abs=45)


def test_without_spare_capacity_a_lost_member_is_never_made_up_for() -> None:
    rates = np.full(1_200, 3_960.0)
    lost = [Outage([0], 300, 600)]
    assert simulate(rates, 12, 4, 1_000.0, USERS).largest_lag <= 2
    found = simulate(rates, 12, 4, 1_000.0, USERS, outages=lost, ends=600)
    assert found.caught_up_after is None
    assert simulate(rates, 12, 8, 1_000.0, USERS, outages=lost, ends=600).caught_up_after is not None


def test_a_member_that_leaves_is_replaced_at_once_and_one_that_dies_after_its_session() -> None:
    rates = np.full(600, 1_000.0)
    left, died = (
        simulate(rates, 12, 4, 1_000.0, USERS, outages=[Outage([1], 200, 300, leaves=leaves)], ends=300)
        for leaves in (True, False)
    )
    assert left.largest_lag == pytest.approx(5, abs=2)  # The pause of a rebalance
    assert died.largest_lag == pytest.approx(10 + 5, abs=3)  # And the session


@pytest.mark.parametrize("load", LOADS, ids=lambda load: f"{load.events_per_day:.0e}")
def test_what_is_sized_stays_within_half_a_minute_and_what_is_less_does_not(load: Load) -> None:
    costs, margins = UnitCosts(), Margins()
    sizing = size(load, costs, margins)
    for name, outcome in scenarios(load, sizing, costs, margins).items():
        assert outcome.largest_lag <= 30, name
        assert outcome.caught_up_after is not None, name
    work = load.peak_events * costs.materializer_us / 1e6
    too_few = int(np.ceil(work)) - 1
    if too_few:
        outcomes = scenarios(load, replace(sizing, materializers=too_few), costs, margins)
        assert outcomes["nothing"].caught_up_after is None


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, ["size", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_json_has_what_the_text_says() -> None:
    found = json.loads(run(*LOAD, "--json"))
    assert f"partitions of the topic  {found['sizing']['partitions']}" in run(*LOAD)
    assert found["load"]["events_per_day"] == 1e9


def test_costs_of_another_machine_are_read_and_a_missing_figure_is_named(tmp_path: Path) -> None:
    figures = json.loads((DOCS / "bench.json").read_bytes())
    before = json.loads(run(*LOAD, "--json"))["sizing"]["materializers"]
    figures["size"]["materializer_us_per_event"] *= 4
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(figures))
    slower = json.loads(run(*LOAD, "--bench", str(path), "--json"))
    assert slower["sizing"]["materializers"] == 4 * before
    for wrong in ({}, {**figures, "stream": {**figures["stream"], "producer_events_per_second": 0}}):
        path.write_text(json.dumps(wrong))
        result = CliRunner().invoke(command, ["size", *LOAD, "--bench", str(path)])
        assert result.exit_code == 2
        assert "figure stream.producer_events_per_second: expected a positive number" in result.output


@pytest.mark.parametrize("value", ["nan", "inf", "0", "1e400"])
def test_loads_that_are_no_numbers_are_refused(value: str) -> None:
    result = CliRunner().invoke(
        command, ["size", "--events-per-day", value, "--users", "1", "--products", "1"]
    )
    assert result.exit_code == 2, result.output


def test_the_page_shows_what_the_command_prints() -> None:
    page = DOCS / "scale.md"
    text = page.read_text()

    def block(match: re.Match[str]) -> str:
        return f"```bash\n{match[1]}\n```\n\n```\n{run(*shlex.split(match[1])[2:])}```\n"

    written, count = re.subn(
        r"```bash\n(reprise size [^`]*?)\n```\n\n```\n.*?```\n", block, text, flags=re.DOTALL
    )
    assert count == 3
    if WRITE:
        page.write_text(written)
    assert text == written
