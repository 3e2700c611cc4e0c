"""The report of the scoring job, read from its output on a thread of its own."""

import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from reprise.runtime.logs import get_logger
from reprise.runtime.storage import Storage, StorageError, open_storage

REPORT = "report.html"
MAX_BYTES = 8 * 1024 * 1024

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NightlyReport:
    """The last report that could be read, when the output was last asked for it, and why it gave no newer one."""

    page: bytes | None = None
    checked_at: datetime | None = None
    problem: str | None = None


class ReportReader:
    """Follows the report in an output of the scoring job, a folder or a URL.

    ``latest`` is replaced as a whole, so a request reads it without a lock.
    """

    def __init__(self, url: str, interval_seconds: float) -> None:
        self.location = f"{url.rstrip('/')}/{REPORT}"
        self.latest = NightlyReport()
        self._url = url
        self._interval_seconds = interval_seconds
        self._storage: Storage | None = None
        self._version: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Refresh at fixed intervals until the event is set."""
        while True:
            self.refresh()
            if stop.wait(self._interval_seconds):
                return

    def refresh(self) -> None:
        """Read the report if it was replaced; a problem leaves the last one in place."""
        page, problem = self.latest.page, None
        try:
            page = self._newest()
        except (StorageError, _TooLargeError) as error:
            problem = str(error)
            if problem != self.latest.problem:
                _log.warning("report_unread", reason=problem)
        self.latest = NightlyReport(page, datetime.now(UTC), problem)

    def _newest(self) -> bytes | None:
        storage = self._storage = self._storage or open_storage(self._url)
        version = storage.version(REPORT)
        if version is not None and version == self._version:
            return self.latest.page
        self._version = None
        with suppress(FileNotFoundError):
            page = storage.read(REPORT, MAX_BYTES + 1)
            if len(page) > MAX_BYTES:
                raise _TooLargeError(f"{self.location} has more than {MAX_BYTES:,} bytes")
            self._version = version
            _log.info("report_read", location=self.location, bytes=len(page))
            return page
        return None


class _TooLargeError(Exception):
    pass
