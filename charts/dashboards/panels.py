"""The model of a dashboard page (``*.yaml`` in this folder) and its translation to Grafana's JSON."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from pydantic import TypeAdapter
from yaml import safe_load

Needs = Literal["kubernetes", "kafka"]
"""Exporters besides our own processes and redis_exporter: kube-state-metrics and the rollout operator, or Kafka's."""

_SOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")
_Drawn = timeseries.Panel | stat.Panel | bargauge.Panel
_NAMESPACE = 'namespace=~"$namespace"'


@dataclass(frozen=True)
class Query:
    """One query of a panel: PromQL, with ``NS`` for the namespace selector and ``RATE`` for the window of a rate.

    The legend of its series has Grafana's ``{{label}}`` placeholders.
    """

    expr: str
    legend: str = ""

    @property
    def promql(self) -> str:
        """The query with Grafana's variables."""
        return re.sub(r"\bNS\b", _NAMESPACE, self.expr).replace("[RATE]", "[$__rate_interval]")

    def concrete(self, rate: str, namespace: str = ".*") -> str:
        """Return the query as Prometheus takes it, with this rate window and namespace pattern."""
        return self.promql.replace("$namespace", namespace).replace("$__rate_interval", rate)


@dataclass(frozen=True)
class Panel:
    """One panel, some of 24 columns wide, with Grafana's name of its unit.

    A number is red from ``bad_above`` on and below ``bad_below``. ``needs`` is the exporter without which the panel has
    no data.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Literal["lines", "number", "bars"] = "lines"
    width: int = 8
    bad_above: int | float | None = None
    bad_below: int | float | None = None
    needs: Needs | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """One page of Grafana."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]

    @property
    def panels(self) -> Iterator[Panel]:
        """Every panel."""
        for row in self.rows:
            yield from row.panels

    def to_json(self) -> str:
        """Return the JSON that Grafana imports."""
        builder = (
            grafana.Dashboard(f"Reprise / {self.title}")
            .uid(f"reprise-{self.uid}")
            .description(self.description)
            .tags(["reprise"])
            .timezone("browser")
            .refresh("30s")
            .time("now-1h", "now")
            .readonly()
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .with_variable(grafana.DatasourceVariable("datasource").type("prometheus").label("Data source"))
            .with_variable(
                grafana.QueryVariable("namespace")
                .label("Namespace")
                .query("label_values(reprise_build_info, namespace)")
                .datasource(_SOURCE)
                .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
                .include_all(True)
                .all_value(".*")
                .multi(True)
            )
            .link(
                grafana.DashboardLink("Reprise")
                .type(DashboardLinkType.DASHBOARDS)
                .tags(["reprise"])
                .as_dropdown(True)
            )
        )
        for row in self.rows:
            builder = builder.with_row(grafana.Row(row.title))
            for panel in row.panels:
                builder = builder.with_panel(_built(panel))
        return JSONEncoder(sort_keys=True, indent=2).encode(builder.build()) + "\n"


def _built(panel: Panel) -> _Drawn:
    drawn = (
        _empty(panel)
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .thresholds(_thresholds(panel))
        .span(panel.width)
        .height(4 if panel.kind == "number" else 8)
    )
    for number, query in enumerate(panel.queries):
        target = (
            prometheus.Dataquery()
            .expr(query.promql)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number))
        )
        drawn = drawn.with_target(target.instant() if panel.kind == "bars" else target.range())
    return drawn


def _empty(panel: Panel) -> _Drawn:
    if panel.kind == "number":
        return stat.Panel().color_mode(BigValueColorMode.BACKGROUND)
    if panel.kind == "bars":
        return bargauge.Panel().orientation(VizOrientation.HORIZONTAL)
    legend = common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM)
    return (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(10)
        .legend(legend.display_mode(LegendDisplayMode.LIST))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )


def _thresholds(panel: Panel) -> grafana.ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    if panel.bad_below is not None:
        steps = [Threshold(value=None, color="red"), Threshold(value=panel.bad_below, color="green")]
    if panel.bad_above is not None:
        steps.append(Threshold(value=panel.bad_above, color="red"))
    return grafana.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


FOLDER = Path(__file__).parents[1] / "reprise/files/dashboards"
DASHBOARDS = tuple(
    TypeAdapter(Dashboard).validate_python(
        {"uid": page, **safe_load((Path(__file__).parent / f"{page}.yaml").read_text())}
    )
    for page in ("overview", "serving", "streaming", "quality", "training", "infrastructure")
)


def files() -> dict[Path, str]:
    """Return the content of every file, by its path."""
    return {FOLDER / f"{dashboard.uid}.json": dashboard.to_json() for dashboard in DASHBOARDS}
