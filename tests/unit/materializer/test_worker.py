"""What the loop shows of itself while it cannot fold."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry

from reprise.log import LogConsumer, Record
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.settings import MaterializerSettings
from reprise.materializer.worker import Worker
from reprise.store.exceptions import StoreUnavailableError


class GrowingLog:
    """A consumer's view of a log of which ten records were read, and to which others append."""

    topic_id = bytes(16)
    assignment = frozenset({0})

    def poll(self, records: int, seconds: float) -> Mapping[int, Sequence[Record]]:
        return {0: [cast(Record, None)] * 10}

    def end_offsets(self) -> Mapping[int, int]:
        return {0: 7010}

    def positions(self) -> Mapping[int, int]:
        return {0: 10}


class AwayStore:
    """A fold whose store is away; the worker is told to stop after the first try."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def fold(self, topic_id: bytes, polled: Any) -> None:
        self._stop.set()
        raise StoreUnavailableError("redis:6379", "connection refused")


def test_the_lag_grows_for_all_to_see_while_the_store_is_away() -> None:
    registry, stop = CollectorRegistry(), threading.Event()
    worker = Worker(
        cast(LogConsumer, GrowingLog()),
        cast(BatchFold, AwayStore(stop)),
        MaterializerMetrics(registry),
        MaterializerSettings(batch_records=10, poll_seconds=0.001, retry_seconds=0.001),
    )
    worker.run(stop)
    assert registry.get_sample_value("reprise_materializer_lag_records", {"partition": "0"}) == 7000
    assert "connection refused" in (worker.problem or "")
