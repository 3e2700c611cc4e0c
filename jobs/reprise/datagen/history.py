"""Generating a history: the shop's stream, cut to what was asked for, into files."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from reprise.datagen.event_tables import TRUTH_SCHEMA, TableMaker, truth_table
from reprise.datagen.history_options import GenerationPlan
from reprise.datagen.statistics import HistoryStatistics
from reprise.datagen.table_writer import table_file
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import format_timestamp
from reprise.runtime.durations import microseconds
from reprise.runtime.files import atomic_write
from reprise.runtime.progress import Progress, progress
from reprise.shop import PURCHASE, EventBatch, Shop

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class GenerationSummary:
    """What was generated.

    Attributes:
        events: Number of events.
        purchases: Number of those that are purchases.
        first_us: Instant of the first event, microseconds since 1970; 0 where there is none.
        last_us: Instant of the last event.
        seconds: How long it took.
    """

    events: int
    purchases: int
    first_us: int
    last_us: int
    seconds: float

    def sentence(self, plan: GenerationPlan) -> str:
        """Return the summary as one line for a person."""
        rate = self.events / max(self.seconds, 1e-9)
        span = ""
        if self.events:
            first, last = (format_timestamp(instant)[:10] for instant in (self.first_us, self.last_us))
            span = f", {first} to {last}"
        also = "".join(f"; {path}" for path in (plan.truth, plan.report) if path is not None)
        return (
            f"{plan.out}: {self.events:,} events, {self.purchases:,} of them purchases{span} "
            f"({self.seconds:.1f} s, {rate:,.0f} events/s){also}"
        )


def generate(plan: GenerationPlan) -> GenerationSummary:
    """Write the events of a plan and whatever else it asks for; every file whole or not at all.

    Raises:
        InvalidPlanError: The plan contradicts itself.
        UnwritableOutputError: An output cannot be written there.
        reprise.shop.InvalidShopError: The start or the horizon is out of its range.
    """
    plan.check()
    began = time.monotonic()
    shop = Shop(plan.shop)
    tables = TableMaker(shop)
    statistics = HistoryStatistics(shop, plan.start_us) if plan.report else None
    events = purchases = first_us = last_us = 0
    with ExitStack() as files:
        writer = files.enter_context(table_file(plan.out, EVENT_SCHEMA))
        truth = files.enter_context(table_file(plan.truth, TRUTH_SCHEMA)) if plan.truth else None
        page = files.enter_context(atomic_write(plan.report)) if plan.report else None
        for batch in _chunks(plan, shop):
            writer.write(tables.events(batch))
            if truth is not None:
                truth.write(truth_table(batch))
            if statistics is not None:
                statistics.add(batch)
            first_us = first_us if events else int(batch.timestamp_us[0])
            last_us = int(batch.timestamp_us[-1])
            events += len(batch)
            purchases += int((batch.event_type == PURCHASE).sum())
        if statistics is not None and page is not None:
            # Only a report needs matplotlib, which is slow to load.
            from reprise.datagen.report import write_report  # noqa: PLC0415

            write_report(page, plan, statistics)
    return GenerationSummary(events, purchases, first_us, last_us, time.monotonic() - began)


def _chunks(plan: GenerationPlan, shop: Shop) -> Iterator[EventBatch]:
    """Yield the stream's batches up to the plan's end, none of them empty, and show how far it is."""
    looks_ahead = plan.truth is not None or plan.report is not None
    horizon_us = microseconds(plan.horizon) if looks_ahead else None
    stream = shop.stream(plan.start_us, horizon_us=horizon_us)
    if plan.events is not None:
        with progress("Generating history", plan.events, "events") as bar:
            yield from _until_count(stream, plan.events, bar)
    elif plan.days is not None:
        with progress("Generating history", plan.days, "days") as bar:
            yield from _until_day(stream, plan.start_us, plan.days, bar)


def _until_count(stream: Iterator[EventBatch], count: int, bar: Progress) -> Iterator[EventBatch]:
    left = count
    for batch in stream:
        wanted = batch.take(slice(left))
        yield wanted
        bar.advance(len(wanted))
        left -= len(wanted)
        if left == 0:
            return


def _until_day(stream: Iterator[EventBatch], start_us: int, days: int, bar: Progress) -> Iterator[EventBatch]:
    passed = 0
    end_us = start_us + days * _DAY_US
    for batch in stream:
        wanted = batch.before(end_us)
        if len(wanted):
            yield wanted
        day = min((int(batch.timestamp_us[-1]) - start_us) // _DAY_US, days)
        bar.advance(day - passed)
        passed = day
        if len(wanted) < len(batch):
            return
