"""Write the README's section on speed, and its plot, from figures: ``python tests/bench/page.py [figures.json]``.

``make bench`` ends with it, on what it has just measured. The figures are kept in ``docs/bench.json``, so that anyone
can see what the page was made from, and a test that it was made from nothing else. A benchmark that was not run this
time leaves its figures of before in place.
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
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        figure: Where it is among the figures, and how it is written.
        baseline: What it is held against, with a place for a figure where it has one.
        against: Where that figure is.
        ratio: Where the ratio is; ``None`` for a figure that stands for itself.
        asked: What is asked for, as it is said.
        plotted: The bar's name in the plot, where the ratio is in it.
    """

    what: str
    figure: tuple[str, str]
    baseline: str = ""
    against: str | None = None
    ratio: str | None = None
    asked: str = ""
    plotted: str | None = None


ROWS = (
    Row(
        "single predictions a second",
        ("predictor.figures.predictor_per_second", "{:,.0f}"),
        "the straightforward service: {:,.0f}",
        "predictor.figures.straightforward_per_second",
        "predictor.figures.times_straightforward",
        "40×",
        "single predictions: the straightforward service",
    ),
    Row(
        "the same",
        ("predictor.figures.predictor_per_second", "{:,.0f}"),
        "a FastAPI endpoint that does nothing: {:,.0f}",
        "predictor.figures.empty_endpoint_per_second",
        "predictor.figures.share_of_empty_endpoint",
        "0.5×",
    ),
    Row(
        "p99 at half of that rate",
        ("predictor.figures.p99_ms_at_half_rate", "{:.1f} ms"),
        asked="5 ms",
    ),
    Row(
        "the same, each answer kept in the prediction log",
        ("predictor.figures.p99_ms_at_half_rate_with_prediction_log", "{:.1f} ms"),
        asked="5 ms",
    ),
    Row(
        "a batch of 1,000 pairs, processor time of the server",
        ("predictor.figures.batch_processor_ms", "{:.1f} ms"),
        "the straightforward service: {:,.0f} ms",
        "predictor.figures.straightforward_batch_processor_ms",
        "predictor.figures.batch_processor_times_straightforward",
        "25×",
        "batch of 1,000, processor time: the straightforward service",
    ),
    Row(
        "the same, as its client waits for it (Redis included)",
        ("predictor.figures.batch_client_ms", "{:.1f} ms"),
        "the straightforward service: {:,.0f} ms",
        "predictor.figures.straightforward_batch_client_ms",
        "predictor.figures.batch_client_times_straightforward",
        plotted="batch of 1,000, as its client waits: the straightforward service",
    ),
    Row(
        "the same, wall time in the server", ("predictor.figures.batch_server_ms", "{:.1f} ms"), asked="40 ms"
    ),
    Row(
        "model call, one row, p99",
        ("predictor.figures.model_call_p99_us", "{:.0f} µs"),
        asked="100 µs",
    ),
    Row(
        "two processes on the same two cores",
        ("predictor.figures.two_processes_on_two_cores_per_second", "{:,.0f} a second"),
        "one: {:,.0f}",
        "predictor.figures.one_process_on_two_cores_per_second",
        "predictor.figures.two_processes_against_one",
    ),
    Row(
        "single predictions during a rollout of two arms, of the rate without",
        ("predictor.figures.share_of_rate_with_two_arms", "{:.2f}"),
    ),
    Row(
        "the same with a shadow that scores every request",
        ("predictor.figures.share_of_rate_with_a_shadow", "{:.2f}"),
    ),
    Row("process start until ready", ("predictor.figures.predictor_ready_seconds", "{:.1f} s"), asked="3 s"),
    Row("memory of a predictor", ("predictor.figures.predictor_rss_mib", "{:.0f} MiB"), asked="150 MiB"),
    Row(
        "all inputs of 1,000 rows among 20,000 events",
        ("features.batch_against_featuretools.batch_seconds", "{:.2f} s"),
        "Featuretools: {:,.0f} s",
        "features.batch_against_featuretools.featuretools_seconds",
        "features.batch_against_featuretools.times_as_fast_on_the_same_rows",
        "10×",
        "batch features: Featuretools",
    ),
    Row(
        "1,000,000 events to training rows",
        ("features.batch.seconds", "{:.0f} s"),
    ),
    Row(
        "folding events, without I/O, a second",
        ("features.fold.fold_events_per_second", "{:,.0f}"),
        "raw lists, recomputed: {:,.0f}",
        "features.fold.baseline_events_per_second",
        "features.fold.times_as_fast_on_the_same_events",
        plotted="folding events: recomputing from lists",
    ),
    Row(
        "events a second, Kafka to Redis, one worker",
        ("stream.one_worker_events_per_second", "{:,.0f}"),
        "Feast's push: {:,.0f}",
        "stream.feast_push_events_per_second",
        "stream.ratio_to_feast_push_events",
        plotted="events into the online store: Feast's push",
    ),
    Row("event to readable feature, p95", ("stream.freshness_p95_milliseconds", "{:.0f} ms")),
    Row(
        "synthetic events a second, to Parquet",
        ("datagen.events_per_second.parquet", "{:,.0f}"),
        "an event at a time: {:,.0f}",
        "datagen.baseline_events_per_second",
        "datagen.times_the_baseline",
        plotted="synthetic history: an event at a time",
    ),
)


def section(figures: Mapping[str, Any]) -> str:
    """Return the README's section, between its marks."""
    lines = [
        BEGIN,
        machine(figures.get("machine", {})),
        "",
        "| | measured | held against | ratio | asked |",
        "| --- | ---: | --- | ---: | ---: |",
        *table(figures),
        "",
        "![How many times as fast as each baseline](docs/images/bench.svg)",
        "",
        "The straightforward service is what one would write first, and is kept beside the benchmark: a FastAPI",
        "handler, Feast's SDK, pandas, and the same forest by scikit-learn from joblib. Each server has one core to",
        "itself; load and Redis have the other.",
        *bound(figures),
        END,
    ]
    return "\n".join(lines)


def machine(described: Mapping[str, Any]) -> str:
    """Return a sentence on what the figures were measured on."""
    if not described:
        return "`make bench` measures on your machine."
    return (
        f"Measured on {described['date']} by `make bench`: {described['processor']}, {described['cores']} cores, "
        f"{described['memory_gib']} GiB, {described['system']}, Python {described['python']}. "
        "All of a row is from one run."
    )


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table whose figures are there."""
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
        ]
        yield "| " + " | ".join(cells) + " |"


def bound(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what bounds the figures that are below what one might expect."""
    two = at(figures, "predictor.figures.two_processes_against_one")
    if two is not None:
        yield (
            f"Two processes on two cores give {times(two)} the rate of one: the load and Redis need their share of the"
        )
        yield "same two cores, which a process by itself leaves them."
    server, processor = (
        at(figures, f"predictor.figures.batch_{name}_ms") for name in ("server", "processor")
    )
    if server is not None and processor is not None:
        yield (
            f"Of the {server:.0f} ms that a batch is in the server, {processor:.0f} ms are its own work; what it waits"
        )
        yield "for is Redis, which brings about 1,650 rows of 17 to 37 numbers each."


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
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 70} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<style>text{fill:#24292f}.grid{stroke:#8c959f;stroke-width:.5}.bar{fill:#2f6f9f}"
        "@media(prefers-color-scheme:dark){text{fill:#d0d7de}.bar{fill:#6cb2e6}}</style>",
        '<text x="8" y="18" font-weight="600">times as fast as</text>',
    ]
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
    return "\n".join([*parts, "</svg>", ""])


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
    """Return the page with this in the place of its section.

    Raises:
        ValueError: The page has no such section.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no section between {BEGIN} and {END}")
    return pattern.sub(lambda _: written, page)


def main(arguments: Sequence[str]) -> int:
    """Keep the figures, and write what is made from them."""
    measured = Path(arguments[0]) if arguments else REPOSITORY / "build" / "bench.json"
    if not measured.exists():
        print(f"{measured} does not exist; make bench writes it", file=sys.stderr)
        return 2
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    figures = {**kept, **json.loads(measured.read_text())}
    FIGURES.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(plot(figures))
    README.write_text(with_section(README.read_text(), section(figures)))
    print(f"wrote {FIGURES}, {PLOT} and the section of {README}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
