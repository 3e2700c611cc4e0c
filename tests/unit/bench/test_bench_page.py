import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from bench import page
from bench.wrk import bearable_connections

FIGURES: dict[str, Any] = {
    "machines": {
        "predictor": {
            "date": "2026-01-31", "processor": "a processor", "cores": 2, "memory_gib": 8, "system": "Linux 6.1",
            "python": "3.11.9",
        },
    },
    "predictor": {
        "figures": {
            "predictor_per_second": 5246.6, "straightforward_per_second": 41.6, "times_straightforward": 126.1,
            "two_processes_against_one": 1.667,
        }
    },
}  # fmt: skip


def test_pages_and_plots_are_made_from_the_figures_that_are_checked_in() -> None:
    figures = json.loads(page.FIGURES.read_text())
    readme = page.README.read_text()
    again = (
        "the section differs from docs/bench.json; python tests/bench/page.py docs/bench.json writes it again"
    )
    assert page.with_section(readme, page.section(figures)) == readme, again
    assert page.PLOT.read_text() == page.plot(figures), again
    scale = page.SCALE.read_text()
    assert page.with_section(scale, page.scale_section(figures)) == scale, again
    assert page.CURVES.read_text() == page.scale_plot(figures), again


def test_every_figure_is_shown_with_its_baseline_ratio_and_machine() -> None:
    section = page.section(FIGURES)
    assert (
        "| single predictions per second | 5,247 | naive service: 42 | 126× | 40× | a processor |" in section
    )
    assert "2026-01-31" in section
    assert "a processor, 2 cores, 8 GiB, Linux 6.1, Python 3.11.9" in section
    assert "1.67× the rate of one" in section


def test_what_was_not_measured_is_left_out() -> None:
    section = page.section(FIGURES)
    assert "Featuretools" not in section
    assert len(re.findall(r"^\| ", section, re.MULTILINE)) == 3


def test_plot_is_svg_with_a_bar_for_each_ratio() -> None:
    root = ET.fromstring(page.plot(FIGURES))
    assert root.tag.endswith("svg")
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 1
    ET.fromstring(page.plot({}))


def test_page_without_the_section_is_refused() -> None:
    with pytest.raises(ValueError, match="no section between"):
        page.with_section("# Another page", "text")


@pytest.mark.parametrize(("request_seconds", "connections"), [(0.0005, 32), (0.036, 6), (5.0, 1)])
def test_slow_server_gets_the_concurrency_that_it_can_bear(request_seconds: float, connections: int) -> None:
    assert bearable_connections(request_seconds) == connections


def test_figures_that_were_not_measured_again_keep_their_machine() -> None:
    measured = {"stream": {"ratio": 2.0}, "machines": {"stream": {"processor": "another"}}}
    figures = page.merged(FIGURES, measured)
    assert figures["predictor"] == FIGURES["predictor"]
    assert {name: each["processor"] for name, each in figures["machines"].items()} == {
        "predictor": "a processor",
        "stream": "another",
    }


def test_histories_that_were_not_measured_again_stay_in_the_curves() -> None:
    def scale(**seconds: float) -> dict[str, object]:
        return {"scale": {"curves": {"spark": seconds}, "compared": seconds}}

    figures = page.merged(scale(small=1.0, large=9.0), scale(small=2.0))
    assert figures["scale"] == {
        "curves": {"spark": {"small": 2.0, "large": 9.0}},
        "compared": {"small": 2.0},
    }
