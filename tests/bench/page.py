"""Write what the docs say of speed, and its plots, from figures: ``python tests/bench/page.py [figures.json]``.

``make bench`` runs it last. The figures are kept in ``docs/bench.json``, and a test holds the section to them. The
figures of a benchmark that did not run stay as they are.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
FIGURES = REPOSITORY / "docs" / "bench.json"
README = REPOSITORY / "README.md"
PLOT = REPOSITORY / "docs" / "images" / "bench.svg"
SCALE = REPOSITORY / "docs" / "scale.md"
ENGINES = {"duckdb": "DuckDB", "spark": "Spark"}
PLANS = {"": "whole plan", "_eight_inputs": "eight inputs"}
"""The plans whose training rows are measured, by what the names of their curves end with."""
CURVES = REPOSITORY / "docs" / "images" / "scale.svg"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
STYLE = (
    "<style>text{fill:#24292f}.grid{stroke:#8c959f;stroke-width:.5}.bar{fill:#2f6f9f}"
    ".line{fill:none;stroke:#2f6f9f;stroke-width:2}.line.second{stroke:#b35900}"
    ".dashed{stroke-dasharray:5 4}"
    "@media(prefers-color-scheme:dark){text{fill:#d0d7de}.bar{fill:#6cb2e6}"
    ".line{stroke:#6cb2e6}.line.second{stroke:#f0a35e}}</style>"
)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: The measured quantity.
        figure: Path of its figure, and its format.
        baseline: Format of the baseline's name and figure.
        against: Path of the baseline's figure.
        ratio: Path of the ratio.
        asked: The target.
        plotted: Label of the bar in the plot, if the ratio is plotted.
    """

    what: str
    figure: tuple[str, str]
    baseline: str = ""
    against: str | None = None
    ratio: str | None = None
    asked: str = ""
    plotted: str | None = None


ROWS = (
    Row("single predictions per second", ("predictor.figures.predictor_per_second", "{:,.0f}"),
        "naive service: {:,.0f}", "predictor.figures.straightforward_per_second",
        "predictor.figures.times_straightforward", "40×", "single predictions: naive service"),
    Row("the same", ("predictor.figures.predictor_per_second", "{:,.0f}"), "empty FastAPI endpoint: {:,.0f}",
        "predictor.figures.empty_endpoint_per_second", "predictor.figures.share_of_empty_endpoint", "0.5×"),
    Row("the same, with the prediction log",
        ("predictor.figures.predictor_with_prediction_log_per_second", "{:,.0f}"), "without: {:,.0f}",
        "predictor.figures.predictor_per_second", "predictor.figures.share_of_rate_with_prediction_log", "0.75×"),
    Row("p99 at half of that rate", ("predictor.figures.p99_ms_at_half_rate", "{:.1f} ms")),
    Row("the same, with the prediction log",
        ("predictor.figures.p99_ms_at_half_rate_with_prediction_log", "{:.1f} ms")),
    Row("batch of 1,000 pairs, CPU time of the server", ("predictor.figures.batch_processor_ms", "{:.1f} ms"),
        "naive service: {:,.0f} ms", "predictor.figures.straightforward_batch_processor_ms",
        "predictor.figures.batch_processor_times_straightforward", "25×", "batch of 1,000, CPU time: naive service"),
    Row("the same, latency at the client (Redis included)", ("predictor.figures.batch_client_ms", "{:.1f} ms"),
        "naive service: {:,.0f} ms", "predictor.figures.straightforward_batch_client_ms",
        "predictor.figures.batch_client_times_straightforward",
        plotted="batch of 1,000, latency at the client: naive service"),
    Row("the same, wall time in the server", ("predictor.figures.batch_server_ms", "{:.1f} ms")),
    Row("ranking of 100 products for a user, CPU time of the server",
        ("predictor.figures.ranking_processor_ms", "{:.1f} ms"), "naive service, a batch: {:,.0f} ms",
        "predictor.figures.straightforward_ranking_processor_ms",
        "predictor.figures.ranking_processor_times_straightforward",
        plotted="ranking of 100, CPU time: naive service"),
    Row("the same, p99 of the latency at the client", ("predictor.figures.ranking_client_p99_ms", "{:.1f} ms")),
    Row("model call, one row, p99", ("predictor.figures.model_call_p99_us", "{:.0f} µs")),
    Row("two processes on the same two cores",
        ("predictor.figures.two_processes_on_two_cores_per_second", "{:,.0f} per second"), "one: {:,.0f}",
        "predictor.figures.one_process_on_two_cores_per_second", "predictor.figures.two_processes_against_one"),
    Row("rate of single predictions during a rollout of two arms, relative to none",
        ("predictor.figures.share_of_rate_with_two_arms", "{:.2f}")),
    Row("the same with a shadow that scores every request",
        ("predictor.figures.share_of_rate_with_a_shadow", "{:.2f}")),
    Row("process start until ready", ("predictor.figures.predictor_ready_seconds", "{:.1f} s")),
    Row("memory of a predictor", ("predictor.figures.predictor_rss_mib", "{:.0f} MiB")),
    Row("all inputs of 1,000 rows among 20,000 events",
        ("features.batch_against_featuretools.batch_seconds", "{:.2f} s"), "Featuretools: {:,.0f} s",
        "features.batch_against_featuretools.featuretools_seconds",
        "features.batch_against_featuretools.times_as_fast_on_the_same_rows", "10×", "batch features: Featuretools"),
    Row("1,000,000 events to training rows", ("features.batch.seconds", "{:.0f} s")),
    Row("events folded per second, without I/O", ("features.fold.fold_events_per_second", "{:,.0f}"),
        "recomputing from lists: {:,.0f}", "features.fold.baseline_events_per_second",
        "features.fold.times_as_fast_on_the_same_events", plotted="folding events: recomputing from lists"),
    Row("events per second, Kafka to Redis, one worker", ("stream.one_worker_events_per_second", "{:,.0f}"),
        "Feast's push: {:,.0f}", "stream.feast_push_events_per_second", "stream.ratio_to_feast_push_events",
        plotted="events into the online store: Feast's push"),
    Row("event to readable feature, p95", ("stream.freshness_p95_milliseconds", "{:.0f} ms")),
    Row("synthetic events per second, to Parquet", ("datagen.events_per_second.parquet", "{:,.0f}"),
        "one event at a time: {:,.0f}", "datagen.baseline_events_per_second", "datagen.times_the_baseline",
        plotted="synthetic history: one event at a time"),
)  # fmt: skip


def section(figures: Mapping[str, Any]) -> str:
    lines = [
        BEGIN,
        machines(figures.get("machines", {})),
        "",
        "| | measured | baseline | ratio | target | processor |",
        "| --- | ---: | --- | ---: | ---: | --- |",
        *table(figures),
        "",
        "![How many times as fast as each baseline](docs/images/bench.svg)",
        "",
        "The naive service, `tests/bench/straightforward_service.py`, is a FastAPI handler with Feast's SDK,",
        "pandas and the same forest in scikit-learn. Each server has one core; load generator and Redis",
        "share the other.",
        *bound(figures),
        END,
    ]
    return "\n".join(lines)


def machines(described: Mapping[str, Mapping[str, Any]]) -> str:
    shown = {row.figure[0].partition(".")[0] for row in ROWS}
    if not described:
        return "`make bench` measures on your machine."
    sentences = {
        f"Measured on {one['date']} by `make bench`: {one['processor']}, {one['cores']} cores, "
        f"{one['memory_gib']} GiB, {one['system']}, Python {one['python']}."
        for name, one in described.items()
        if name in shown
    }
    return " ".join([*sorted(sentences), "The figures of a row are from one run. Targets are for ratios."])


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table that have figures."""
    for row in ROWS:
        value = at(figures, row.figure[0])
        against = at(figures, row.against) if row.against else None
        ratio = at(figures, row.ratio) if row.ratio else None
        if value is None or (row.against and against is None):
            continue
        held = row.baseline.format(against) if row.against else row.baseline
        cells = [
            row.what,
            row.figure[1].format(value),
            held,
            "" if ratio is None else times(ratio),
            row.asked,
            figures.get("machines", {}).get(row.figure[0].partition(".")[0], {}).get("processor", ""),
        ]
        yield "| " + " | ".join(cells) + " |"


def bound(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what limits the figures."""
    two = at(figures, "predictor.figures.two_processes_against_one")
    if two is not None:
        yield f"Two processes on two cores reach {times(two)} the rate of one, because load generator and"
        yield "Redis use the same two cores."
    server, processor = (
        at(figures, f"predictor.figures.batch_{name}_ms") for name in ("server", "processor")
    )
    if server is not None and processor is not None:
        yield f"A batch spends {processor:.0f} of its {server:.0f} ms in the server on CPU. The rest is the wait for"
        yield "Redis, which returns about 1,650 rows of 17 to 37 numbers each."


def plot(figures: Mapping[str, Any]) -> str:
    """Return the ratios as bars on a logarithmic scale, as SVG."""
    bars = [
        (row.plotted, ratio)
        for row in ROWS
        if row.plotted and row.ratio and (ratio := at(figures, row.ratio)) is not None
    ]
    left, width, step, top = 430, 380, 30, 34
    height = top + step * len(bars) + 26
    decades = max(1, math.ceil(math.log10(max((ratio for _, ratio in bars), default=10))))
    parts = []
    for decade in range(decades + 1):
        x = left + width * decade / decades
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" y2="{height - 20}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{10**decade:,}×</text>')
    for number, (name, ratio) in enumerate(bars):
        y = top + step * number
        long = max(1.0, width * math.log10(max(ratio, 1.0)) / decades)
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="bar" x="{left}" y="{y}" width="{long:.1f}" height="19" rx="2"/>')
        parts.append(f'<text x="{left + long + 6:.1f}" y="{y + 14}">{times(ratio)}</text>')
    return svg(left + width + 70, height, "times as fast as", parts)


def scale_section(figures: Mapping[str, Any]) -> str:
    scale = figures["scale"]
    curves, compared, skewed = scale["curves"], scale["compared"], scale["skewed"]

    def cell(name: str, events: str, form: str) -> str:
        return form.format(curves[name][events]) if events in curves[name] else "–"

    rows = [
        f"| {int(events):,} | {label} | "
        + " | ".join(
            cell(f"{engine}{what}{plan}", events, form)
            for engine in ENGINES
            for what, form in (("", "{:,.0f} s"), ("_gib", "{:.1f} GiB"))
        )
        + " |"
        for plan, label in PLANS.items()
        for events in sorted(curves[f"duckdb{plan}"], key=int)
    ]
    one = figures["machines"]["scale"]
    return "\n".join(
        [
            BEGIN,
            f"Measured on {one['date']} by `make bench BENCH=scale`: {one['processor']}, {one['cores']} cores.",
            "",
            "| events | plan | DuckDB | memory | Spark | memory |",
            "| ---: | --- | ---: | ---: | ---: | ---: |",
            *rows,
            "",
            "![Seconds by events](images/scale.svg)",
            "",
            f"In {compared['rows']:,} rows the two engines differed in {compared['mismatches']:,} values.",
            f"In a history of {skewed['events']:,} events, of which one product has 30 % and one user 10 %, the",
            f"largest task on Spark has {skewed['spark_largest_task_times_median']:.1f} times the rows of the median.",
            END,
        ]
    )


def scale_plot(figures: Mapping[str, Any]) -> str:
    """Return the seconds of both engines by events, both logarithmic, as SVG."""
    curves = figures["scale"]["curves"]
    points = {
        (name, plan): sorted(
            (math.log10(int(events)), math.log10(seconds)) for events, seconds in curves[name + plan].items()
        )
        for name in ENGINES
        for plan in PLANS
    }
    every = [point for curve in points.values() for point in curve]
    left, top, width, height = 60, 30, 440, 260
    low = [math.floor(min(point[axis] for point in every)) for axis in (0, 1)]
    high = [math.ceil(max(point[axis] for point in every)) for axis in (0, 1)]

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (x - low[0]) / (high[0] - low[0]), (y - low[1]) / (high[1] - low[1])
        return left + width * across, top + height * (1 - up)

    parts = []
    for x in range(low[0], high[0] + 1):
        across, _ = place(x, low[1])
        parts.append(
            f'<line class="grid" x1="{across:.1f}" y1="{top}" x2="{across:.1f}" y2="{top + height}"/>'
        )
        parts.append(f'<text x="{across:.1f}" y="{top + height + 20}" text-anchor="middle">{10**x:,}</text>')
    for y in range(low[1], high[1] + 1):
        _, down = place(low[0], y)
        parts.append(f'<line class="grid" x1="{left}" y1="{down:.1f}" x2="{left + width}" y2="{down:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{down + 4:.1f}" text-anchor="end">{10**y:,}</text>')
    for (name, plan), curve in points.items():
        placed = [place(x, y) for x, y in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        kind = (" second" if name == "spark" else "") + (" dashed" if plan else "")
        parts.append(f'<polyline class="line{kind}" points="{line}"/>')
        label = f"{ENGINES[name]}, {PLANS[plan]}"
        parts.append(f'<text x="{placed[-1][0] + 8:.1f}" y="{placed[-1][1] + 4:.1f}">{label}</text>')
    return svg(left + width + 170, top + height + 40, "seconds for all training rows, by events", parts)


def svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
    head += 'font-family="system-ui, sans-serif" font-size="13">'
    heading = f'<text x="8" y="18" font-weight="600">{title}</text>'
    return "\n".join([head, STYLE, heading, *parts, "</svg>", ""])


def times(ratio: float) -> str:
    """Return a ratio as it is read: 0.63×, 5.2×, 126×."""
    return f"{ratio:.2f}×" if ratio < 2 else f"{ratio:.1f}×" if ratio < 20 else f"{ratio:,.0f}×"


def at(figures: Mapping[str, Any], path: str) -> float | None:
    """Return the figure at a path of names joined by dots, ``None`` where there is none."""
    found: Any = figures
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return float(found)


def with_section(page: str, written: str) -> str:
    """Return the page with this in the place of its section."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no section between {BEGIN} and {END}")
    return pattern.sub(lambda _: written, page)


def merged(kept: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures with those of the benchmarks that were measured again, each with its machine.

    Histories that were not measured again keep their place in the curves of ``scale``.
    """
    machines = {**kept.get("machines", {}), **measured.get("machines", {})}
    figures = {**kept, **measured, "machines": machines}
    if "scale" in kept and "scale" in measured:
        before, now = kept["scale"]["curves"], measured["scale"]["curves"]
        curves = {name: {**before.get(name, {}), **now.get(name, {})} for name in {**before, **now}}
        figures["scale"] = {**measured["scale"], "curves": curves}
    return figures


def main(arguments: Sequence[str]) -> int:
    """Keep the figures, and write what is made from them."""
    measured = Path(arguments[0]) if arguments else REPOSITORY / "build" / "bench.json"
    if not measured.exists():
        print(f"{measured} does not exist; make bench writes it", file=sys.stderr)
        return 2
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    figures = merged(kept, json.loads(measured.read_text()))
    FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(plot(figures))
    README.write_text(with_section(README.read_text(), section(figures)))
    CURVES.write_text(scale_plot(figures))
    SCALE.write_text(with_section(SCALE.read_text(), scale_section(figures)))
    print(f"wrote {FIGURES}, {PLOT}, {CURVES} and the sections of {README} and {SCALE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
