"""What ``reprise size`` prints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from reprise.cli.size.simulation import Outage, Outcome, simulate
from reprise.cli.size.sizes import Load, Margins, Sizing, size
from reprise.cli.size.unit_costs import UnitCosts

_SECONDS = 3_600
_BEGINS = 900
_BURST_SECONDS = 600
_RESTART_SECONDS = 20
_ZONE_SECONDS = 600  # Until the pods of a lost zone run in another


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
            " of history",
            f"a month                  {sizing.core_hours_per_month:,.0f} core-hours,"
            f" {sizing.gib_hours_per_month:,.0f} GiB-hours of memory",
            "",
            f"{'simulated at the peak':<44}{'latest event':>14}{'caught up after':>18}",
        ]
        for name, outcome in self.scenarios.items():
            after = "never" if outcome.caught_up_after is None else f"{outcome.caught_up_after:,.0f} s"
            lines.append(f"{name:<44}{f'{outcome.largest_lag:,.0f} s late':>14}{after:>18}")
        lines += [
            "",
            "Not measured, so not included: the archiver, the jobs, the operator, the status page and Prometheus.",
        ]
        return "\n".join(lines)


def scenarios(load: Load, sizing: Sizing, costs: UnitCosts, margins: Margins) -> dict[str, Outcome]:
    """Return what the stream does in the first hour of the peak, by what happens in it."""
    rates = np.full(_SECONDS, load.peak_events)
    burst = rates.copy()
    burst[_BEGINS : _BEGINS + _BURST_SECONDS] *= 2
    count = sizing.materializers
    lost = range(-(-count // margins.zones))
    restarts = [
        Outage([member], _BEGINS + at * _RESTART_SECONDS, _BEGINS + (at + 1) * _RESTART_SECONDS, leaves=True)
        for at, member in enumerate(range(count))
    ]
    per_second = 1e6 / costs.materializer_us

    def outcome(rates: np.ndarray, ends: int, *outages: Outage) -> Outcome:
        return simulate(rates, sizing.partitions, count, per_second, outages=outages, ends=ends)

    return {
        "nothing": outcome(rates, 0),
        "a burst, twice the peak for ten minutes": outcome(burst, _BEGINS + _BURST_SECONDS),
        "a rolling update, 20 s for each": outcome(rates, restarts[-1].end, *restarts),
        "a zone is lost for ten minutes": outcome(
            rates, _BEGINS + _ZONE_SECONDS, Outage(list(lost), _BEGINS, _BEGINS + _ZONE_SECONDS)
        ),
    }
