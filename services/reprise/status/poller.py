"""Looks at the platform again and again, and keeps what it found."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from reprise.runtime.logs import get_logger
from reprise.status.analysis.figures import RECENT_SECONDS
from reprise.status.analysis.history import History
from reprise.status.analysis.increases import Increases
from reprise.status.analysis.report_builder import Frame, report_of
from reprise.status.metrics import StatusMetrics
from reprise.status.report import Report
from reprise.status.scrape.snapshot import Snapshot

_log = get_logger(__name__)


class Watch:
    """The latest report.

    Args:
        look: Looks at everything.
        looks_kept: How many looks the history holds.
        frame: What is the same in every report.
        metrics: Where looks are measured.
        clock: Seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Snapshot]],
        looks_kept: int,
        frame: Frame,
        metrics: StatusMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._frame = frame
        self._metrics = metrics
        self._clock = clock
        self._history = History(looks_kept)
        self._increases = Increases(max(RECENT_SECONDS, 3 * frame.every_seconds))
        self._broken: str | None = None
        self.report: Report | None = None

    def reasons_not_ready(self) -> list[str]:
        """Return why the page has nothing to show."""
        if self._broken is not None:
            return [self._broken]
        return [] if self.report is not None else ["the services are being looked at for the first time"]

    async def look(self) -> None:
        """Look once."""
        started = self._clock()
        found = await self._look()
        now = self._clock()
        self._history.add(now, self._increases.since_last(now, found.processes()))
        report = report_of(found, self._history, self._frame)
        if self.report is None or report.verdict.sentence != self.report.verdict.sentence:
            _log.info("verdict", level=report.verdict.level, sentence=report.verdict.sentence)
        self.report = report
        self._metrics.show(report.verdict.level)
        self._metrics.seconds.observe(now - started)
        self._metrics.looked.set(found.at)

    async def keep_looking(self) -> None:
        """Look at fixed times, until cancelled; a look that takes longer leaves out the next."""
        due = self._clock()
        try:
            while True:
                await self.look()
                now = self._clock()
                due = max(due + self._frame.every_seconds, now)
                await asyncio.sleep(due - now)
        except Exception as error:
            self._broken = "the services are not looked at any more"
            _log.critical("watch_failed", exc_info=error)
            raise
