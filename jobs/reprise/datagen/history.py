"""A synthetic history: the shop's stream up to the requested end, written to files."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise.datagen.statistics import HistoryStatistics
from reprise.datagen.table_writer import TRUTH_SCHEMA, EventTables, table_file, truth_table
from reprise.event_files.schema import EVENT_SCHEMA
from reprise.events import format_timestamp
from reprise.runtime.durations import EPOCH, microseconds
from reprise.runtime.exceptions import RepriseError
from reprise.runtime.files import atomic_write
from reprise.runtime.progress import progress
from reprise.shop import PURCHASE, EventBatch, Shop, ShopConfig
from reprise.shop.config import DAY_US

_TABLES = (".csv", ".parquet")


class DatagenError(RepriseError):
    """The options contradict each other, or an output cannot be written; says which and why."""


@dataclass(frozen=True, slots=True)
class HistoryOptions:
    """What to generate, and where to write it; exactly one of ``days`` and ``events`` is given."""

    out: Path  # file of the events, ``.csv`` or ``.parquet``
    shop: ShopConfig = field(default_factory=ShopConfig)  # size and seed of the shop
    start: datetime | None = None  # first instant, with a time zone
    end: datetime | None = None  # instant after the last, instead; by default midnight UTC before now
    days: int | None = None  # length in days
    events: int | None = None  # exact number of events
    horizon: timedelta = timedelta(days=30)  # horizon of the truth
    truth: Path | None = None  # file of the truth, ``.csv`` or ``.parquet``
    report: Path | None = None  # file of the report, ``.html``

    def check(self) -> None:
        """Check the options before any work is done.

        Raises:
            DatagenError: Days and events are both given or both missing, or out of their range; an output's name or
                folder is wrong, or two outputs are one file.
        """
        if (self.days is None) == (self.events is None):
            raise DatagenError("give either the days or the events")
        for name, number in (("days", self.days), ("events", self.events)):
            if number is not None and number < 1:
                raise DatagenError(f"{name}: expected at least 1, got {number}")
        if self.start is not None and self.end is not None:
            raise DatagenError("give either the start or the end")
        for name, instant in (("start", self.start), ("end", self.end)):
            if instant is not None and instant.tzinfo is None:
                raise DatagenError(f"{name}: expected an instant with a time zone, got {instant}")
        outputs = set()
        for path, extensions in ((self.out, _TABLES), (self.truth, _TABLES), (self.report, (".html",))):
            if path is None:
                continue
            if path.suffix.lower() not in extensions:
                raise DatagenError(f"{path}: the name should end in {' or '.join(extensions)}")
            if not path.parent.is_dir():
                raise DatagenError(f"{path}: there is no folder {path.parent}")
            if path.is_dir():
                raise DatagenError(f"{path}: is a folder")
            if path.resolve() in outputs:
                raise DatagenError(f"{path}: two outputs cannot be one file")
            outputs.add(path.resolve())


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
        DatagenError: The options contradict each other, or an output cannot be written there.
        reprise.shop.InvalidShopError: The start or the horizon is out of its range.
    """
    options.check()
    began = time.monotonic()
    shop = Shop(options.shop)
    tables = EventTables(shop)
    start_us, left_out = _find_start(options, shop)
    statistics = HistoryStatistics(shop, start_us) if options.report and not left_out else None
    report_seconds = 0.0
    events = purchases = first_us = last_us = 0
    with ExitStack() as files:
        write = files.enter_context(table_file(options.out, EVENT_SCHEMA))
        write_truth = files.enter_context(table_file(options.truth, TRUTH_SCHEMA)) if options.truth else None
        page = files.enter_context(atomic_write(options.report)) if options.report else None
        for batch in _batches(options, shop, start_us, left_out):
            table = tables.build(batch)
            write(table)
            if write_truth is not None:
                write_truth(truth_table(table, batch))
            if page is not None:
                report_began = time.monotonic()
                if statistics is None:
                    statistics = HistoryStatistics(shop, int(batch.timestamp_us[0]) // DAY_US * DAY_US)
                statistics.add(batch)
                report_seconds += time.monotonic() - report_began
            first_us = first_us if events else int(batch.timestamp_us[0])
            last_us = int(batch.timestamp_us[-1])
            events += len(batch)
            purchases += int((batch.event_type == PURCHASE).sum())
        seconds = time.monotonic() - began - report_seconds
        if statistics is not None and page is not None:
            # Only a report needs matplotlib, which is slow to load.
            from reprise.datagen.report import render_report  # noqa: PLC0415

            page.write_text(render_report(options.out.name, options.horizon, statistics), encoding="utf-8")
    return HistorySummary(events, purchases, first_us, last_us, seconds)


def _find_start(options: HistoryOptions, shop: Shop) -> tuple[int, int]:
    """Return the first instant of the stream, and the number of its events before the history."""
    if options.start is not None:
        return microseconds(options.start - EPOCH), 0
    end = options.end or datetime.combine(datetime.now(UTC), datetime.min.time(), UTC)
    end_us = microseconds(end - EPOCH)
    if options.days is not None:
        return end_us - options.days * DAY_US, 0
    wanted = options.events or 0
    days = 0
    found = 0
    while found < wanted:
        # the rate is known when the events of some days are counted
        days = math.ceil(1.1 * days * wanted / found) if found else 2 * days + 7
        start_us = end_us - days * DAY_US
        found = sum(map(len, shop.history(start_us, end_us)))
    return start_us, found - wanted


def _batches(options: HistoryOptions, shop: Shop, start_us: int, left_out: int) -> Iterator[EventBatch]:
    """Yield the stream's batches up to the requested end, none of them empty, and show the progress."""
    horizon_us = microseconds(options.horizon) if options.truth or options.report else None
    done = 0
    if options.days is not None:
        with progress("Generating history", options.days, "days") as bar:
            for batch in shop.history(start_us, start_us + options.days * DAY_US, horizon_us=horizon_us):
                yield batch
                day = (int(batch.timestamp_us[-1]) - start_us) // DAY_US + 1
                bar.advance(day - done)
                done = day
    elif options.events is not None:
        with progress("Generating history", options.events, "events") as bar:
            for batch in shop.stream(start_us, horizon_us=horizon_us):
                wanted = batch.take(slice(left_out, left_out + options.events - done))
                left_out = max(left_out - len(batch), 0)
                if not len(wanted):
                    continue
                yield wanted
                bar.advance(len(wanted))
                done += len(wanted)
                if done == options.events:
                    return
