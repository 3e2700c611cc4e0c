"""A synthetic history: the shop's stream up to the requested end, written to files."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from reprise.datagen.history_options import HistoryOptions
from reprise.datagen.statistics import HistoryStatistics
from reprise.datagen.table_writer import TRUTH_SCHEMA, EventTables, table_file, truth_table
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import format_timestamp
from reprise.runtime.durations import microseconds
from reprise.runtime.files import atomic_write
from reprise.runtime.progress import progress
from reprise.shop import PURCHASE, EventBatch, Shop
from reprise.shop.config import DAY_US


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """What was generated; instants are microseconds since 1970, 0 without events."""

    events: int
    purchases: int
    first_us: int
    last_us: int
    seconds: float

    def render(self, options: HistoryOptions) -> str:
        """Return the summary as one line for a person."""
        rate = self.events / max(self.seconds, 1e-9)
        span = ""
        if self.events:
            first, last = (format_timestamp(instant)[:10] for instant in (self.first_us, self.last_us))
            span = f", {first} to {last}"
        also = "".join(f"; {path}" for path in (options.truth, options.report) if path is not None)
        return (
            f"{options.out}: {self.events:,} events, {self.purchases:,} of them purchases{span} "
            f"({self.seconds:.1f} s, {rate:,.0f} events/s){also}"
        )


def generate_history(options: HistoryOptions) -> HistorySummary:
    """Write the events, and truth and report if wanted; every file is complete or absent.

    Raises:
        InvalidOptionsError: The options contradict each other.
        UnwritableOutputError: An output cannot be written there.
        reprise.shop.InvalidShopError: The start or the horizon is out of its range.
    """
    options.check()
    began = time.monotonic()
    shop = Shop(options.shop)
    tables = EventTables(shop)
    statistics = HistoryStatistics(shop, options.start_us) if options.report else None
    events = purchases = first_us = last_us = 0
    with ExitStack() as files:
        writer = files.enter_context(table_file(options.out, EVENT_SCHEMA))
        truth = files.enter_context(table_file(options.truth, TRUTH_SCHEMA)) if options.truth else None
        page = files.enter_context(atomic_write(options.report)) if options.report else None
        for batch in _batches(options, shop):
            writer.write(tables.build(batch))
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
            from reprise.datagen.report import render_report  # noqa: PLC0415

            page.write_text(render_report(options, statistics), encoding="utf-8")
    return HistorySummary(events, purchases, first_us, last_us, time.monotonic() - began)


def _batches(options: HistoryOptions, shop: Shop) -> Iterator[EventBatch]:
    """Yield the stream's batches up to the requested end, none of them empty, and show the progress."""
    needs_truth = options.truth is not None or options.report is not None
    stream = shop.stream(options.start_us, horizon_us=microseconds(options.horizon) if needs_truth else None)
    if options.events is not None:
        yield from _up_to_count(stream, options.events)
    elif options.days is not None:
        yield from _up_to_day(stream, options.start_us, options.days)


def _up_to_count(stream: Iterator[EventBatch], count: int) -> Iterator[EventBatch]:
    left = count
    with progress("Generating history", count, "events") as bar:
        for batch in stream:
            wanted = batch.take(slice(left))
            yield wanted
            bar.advance(len(wanted))
            left -= len(wanted)
            if left == 0:
                return


def _up_to_day(stream: Iterator[EventBatch], start_us: int, days: int) -> Iterator[EventBatch]:
    done = 0
    with progress("Generating history", days, "days") as bar:
        for batch in stream:
            wanted = batch.before(start_us + days * DAY_US)
            if len(wanted):
                yield wanted
            day = min((int(batch.timestamp_us[-1]) - start_us) // DAY_US, days)
            bar.advance(day - done)
            done = day
            if len(wanted) < len(batch):
                return
