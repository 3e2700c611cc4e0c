"""The dashboards in the chart are those of the code, and every panel can be read and asks for what exists."""

import json
from pathlib import Path

import pytest
import yaml

from dashboards.panels import DASHBOARDS, FOLDER, Panel, files
from support.metrics_catalogue import OF_THE_PROCESS, own_series
from support.prometheus import needs_prometheus, promtool
from support.promql import THIRD_PARTY, metrics_of

PANELS = {f"{page.uid}: {panel.title}": panel for page in DASHBOARDS for panel in page.panels}
OUR_STAND = ("Prometheus itself", "redis_exporter")


@pytest.mark.parametrize("name", [page.uid for page in DASHBOARDS])
def test_checked_in_dashboard_is_that_of_the_code(name: str) -> None:
    path = FOLDER / f"{name}.json"
    assert path.read_text() == files()[path], "run make dashboards"


def test_chart_holds_no_other_dashboards() -> None:
    assert set(FOLDER.glob("*.json")) == files().keys()


@pytest.mark.parametrize("name", [page.uid for page in DASHBOARDS])
def test_every_panel_that_grafana_loads_has_a_description_a_unit_and_a_query(name: str) -> None:
    panels = [p for p in json.loads((FOLDER / f"{name}.json").read_text())["panels"] if p["type"] != "row"]
    assert panels
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert all(target["expr"] for target in panel["targets"]), panel["title"]


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_panel_asks_for_metrics_that_exist(panel: Panel) -> None:
    asked = {name for query in panel.queries for name in metrics_of(query.promql)}
    others = {name for name in asked - own_series() if not name.startswith(OF_THE_PROCESS)}
    assert others <= THIRD_PARTY.keys()
    foreign = {THIRD_PARTY[name] for name in others} - set(OUR_STAND)
    assert not foreign or panel.needs in {"kubernetes", "kafka"}, "say what the panel needs"


@needs_prometheus
def test_queries_are_promql(tmp_path: Path) -> None:
    queries = [query.concrete("1m") for panel in PANELS.values() for query in panel.queries]
    rules = [{"record": f"panel:query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool(["check", "rules", str(path)])
