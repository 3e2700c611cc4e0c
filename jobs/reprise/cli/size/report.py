"""What ``reprise size`` prints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from reprise.cli.size.simulation import Outage, Outcome, simulate
from reprise.cli.size.sizes import EXECUTOR_CORES, EXECUTOR_GIB, Load, Margins, Sizing, size
from reprise.cli.size.unit_costs import UnitCosts

_BEGINS = 900
_BURST_SECONDS = 600
_RESTART_SECONDS = 20
_GROUPS = 10  # That a rolling update restarts one after another
_ZONE_SECONDS = 600  # Until the materializers of a lost zone run in another
_AFTERWARDS = 1_800
_MAX_USERS = 100_000
_MAX_MATERIALIZERS = 120


@dataclass(frozen=True, slots=True)
class Report:
    """A load, what it needs, and what the stream does with it when something happens at the peak."""

    load: Load
    sizing: Sizing
    scenarios: Mapping[str, Outcome]

    @classmethod
    def of(cls, load: Load, costs: UnitCosts, margins: Margins) -> Self:
        """Size a load, and simulate it."""
        sizing = size(load, costs, margins)
        return cls(load, sizing, scenarios(load, sizing, costs, margins))

    def __str__(self) -> str:
        load, sizing = self.load, self.sizing
        lines = [
            f"{load.events_per_day:,.0f} events a day, {load.peak_events:,.0f} a second at the peak;"
            f" {load.users:,.0f} users, {load.products:,.0f} products,"
            f" {load.predictions_per_second:,.0f} predictions a second",
            "",
            f"{'':<14}{'instances':>10}{'cores':>8}{'memory GiB':>12}{'disk GiB':>10}   because",
        ]
        for each in sizing.components:
            numbers = (
                f"{each.instances:>10,}{each.cores:>8,.0f}{each.memory_gib:>12,.0f}{each.disk_gib:>10,.0f}"
            )
            lines.append(f"{each.name:<14}{numbers}   {each.because}")
        lines += [
            "",
            f"partitions of the topic  {sizing.partitions}",
            f"archive                  {sizing.archive_gib:,.0f} GiB in {load.archive_days:,.0f} days",
            f"rows of one training     {sizing.training_core_hours:,.1f} core-hours for {load.training_days:,.0f} days"
            " of history, on DuckDB",
            f"the same on Spark        {sizing.spark_core_hours:,.1f} core-hours; {sizing.spark_executors:,} executors"
            f" of {EXECUTOR_CORES} cores and {EXECUTOR_GIB} GiB take {load.training_hours:g} hours",
            f"a month                  {sizing.core_hours_per_month:,.0f} core-hours,"
            f" {sizing.gib_hours_per_month:,.0f} GiB-hours of memory",
            "",
            f"{'materializers, simulated at the peak':<50}{'latest event':>14}{'caught up':>18}",
        ]
        for name, outcome in self.scenarios.items():
            after = (
                "never"
                if outcome.caught_up_after is None
                else f"{outcome.caught_up_after:,.0f} s after its end"
            )
            lines.append(f"{name:<50}{f'{outcome.largest_lag:,.0f} s late':>14}{after:>18}")
        lines += [
            "",
            "Not measured, so not included: archiver, jobs, rollout operator, status page, Feast and Prometheus.",
        ]
        return "\n".join(lines)


def scenarios(load: Load, sizing: Sizing, costs: UnitCosts, margins: Margins) -> dict[str, Outcome]:
    """Return what the stream does at the peak, by what happens; of many materializers, some with their share of it."""
    count = min(sizing.materializers, _MAX_MATERIALIZERS)
    partitions = sizing.partitions // sizing.materializers * count
    peak = load.peak_events * count / sizing.materializers
    zone = Outage(range(-(-count // margins.zones)), _BEGINS, _BEGINS + _ZONE_SECONDS)
    groups = [range(count)[at :: min(count, _GROUPS)] for at in range(min(count, _GROUPS))]
    restarts = [
        Outage(group, _BEGINS + at * _RESTART_SECONDS, _BEGINS + (at + 1) * _RESTART_SECONDS, leaves=True)
        for at, group in enumerate(groups)
    ]

    def outcome(ends: int, *outages: Outage, burst: float = 1.0) -> Outcome:
        rates = np.full(ends + _AFTERWARDS, peak)
        rates[_BEGINS:ends] *= burst
        users = min(int(load.users), _MAX_USERS)
        return simulate(
            rates, partitions, count, 1e6 / costs.materializer_us, users, outages=outages, ends=ends
        )

    return {
        "nothing": outcome(_BEGINS),
        "a burst, twice the peak for ten minutes": outcome(_BEGINS + _BURST_SECONDS, burst=2.0),
        "a rolling update, 20 s for each tenth": outcome(restarts[-1].end, *restarts),
        "a zone's materializers are lost for ten minutes": outcome(zone.end, zone),
    }
