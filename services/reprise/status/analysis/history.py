"""The last hour of counters and curves, in memory of a fixed size."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reprise.status.scrape.exposition import LabelPairs, SeriesKey
from reprise.status.scrape.snapshot import ProcessSnapshot

COUNTERS = frozenset(
    {
        "reprise_archiver_lost_records_total",
        "reprise_archiver_records_total",
        "reprise_materializer_events_total",
        "reprise_materializer_freshness_seconds_bucket",
        "reprise_predictor_arm_answers_total",
        "reprise_predictor_logged_total",
        "reprise_predictor_request_seconds_bucket",
        "reprise_predictor_requests_total",
        "reprise_producer_events_total",
    }
)
"""The series whose increase is followed; the others are read as gauges."""

Increase = Mapping[str, Mapping[LabelPairs, float]]
"""Increase of each series by name and labels."""

LabelFilter = str | frozenset[str]
"""The accepted value, or values, of a label."""


class CounterIncreases:
    """Follows the counters of each process and sums their increases over processes.

    A counter that fell was reset with its process, so its whole value is increase. A new series of a known process
    increased from zero. A new process, or one that was away for longer than ``forget_seconds``, only sets the start.
    """

    def __init__(self, forget_seconds: float) -> None:
        self._forget_seconds = forget_seconds
        self._known: dict[tuple[str, str], tuple[float, Mapping[SeriesKey, float]]] = {}

    def since_last(self, at: float, processes: Iterable[tuple[str, ProcessSnapshot]]) -> Increase:
        """Return the increases since the last snapshot, from this one's processes and their services.

        ``at`` is the time of the snapshot in seconds.
        """
        increases: defaultdict[str, defaultdict[LabelPairs, float]] = defaultdict(lambda: defaultdict(float))
        for service, process in processes:
            if process.samples is None:
                continue
            now = {key: value for key, value in process.samples.series.items() if key[0] in COUNTERS}
            then = self._known.get((service, process.address))
            if then is not None and at - then[0] <= self._forget_seconds:
                for key, value in now.items():
                    before = then[1].get(key, 0.0)
                    increases[key[0]][key[1]] += value - before if value >= before else value
            self._known[service, process.address] = (at, now)
        self._known = {
            key: known for key, known in self._known.items() if at - known[0] <= self._forget_seconds
        }
        return increases


@dataclass(frozen=True)
class HistoryPoint:
    """What is kept of one snapshot.

    Attributes:
        at: Time in seconds.
        elapsed: Seconds since the previous snapshot; 0 for the first.
        increase: Increase of counters in that time.
        values: Values of the curves, ``None`` if unknown.
    """

    at: float
    elapsed: float
    increase: Increase
    values: dict[str, float | None] = field(default_factory=dict)


class History:
    """The latest ``capacity`` snapshots."""

    def __init__(self, capacity: int) -> None:
        self._points: deque[HistoryPoint] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._points)

    def add(self, at: float, increase: Increase) -> None:
        """Keep a snapshot."""
        elapsed = at - self._points[-1].at if self._points else 0.0
        self._points.append(HistoryPoint(at, elapsed, increase))

    def set_values(self, values: Mapping[str, float | None]) -> None:
        """Set the values of the curves at the latest snapshot."""
        self._points[-1].values.update(values)

    def window(self, seconds: float) -> "Window":
        """Return the latest snapshots of this many seconds, at least one if there are two."""
        chosen: list[HistoryPoint] = []
        covered = 0.0
        for point in reversed(self._points):
            if point.elapsed <= 0 or (chosen and covered + point.elapsed > seconds + 1e-9):
                break
            chosen.append(point)
            covered += point.elapsed
        return Window(chosen, covered)

    def curve(self, name: str) -> list[float | None]:
        """Return the values of a curve, the oldest first."""
        return [point.values.get(name) for point in self._points]

    @property
    def seconds(self) -> float:
        """Time between the oldest and the latest snapshot."""
        return self._points[-1].at - self._points[0].at if self._points else 0.0


class Window:
    """The increases of counters over some snapshots, which cover ``seconds``; 0 before the second snapshot."""

    def __init__(self, points: Sequence[HistoryPoint], seconds: float) -> None:
        self.seconds = seconds
        self._points = points

    def increase(self, name: str, **labels: LabelFilter) -> float | None:
        """Return the increase of the series of this name and these labels; ``None`` if no process has one."""
        found = [value for _, value in self._series(name, labels)]
        return sum(found) if found else None

    def rate(self, name: str, **labels: LabelFilter) -> float | None:
        """Return the increase per second."""
        increase = self.increase(name, **labels)
        return increase / self.seconds if increase is not None and self.seconds > 0 else None

    def buckets(self, name: str, **labels: LabelFilter) -> list[tuple[float, float]]:
        """Return upper bound and increase of a histogram's buckets, in order."""
        found: defaultdict[float, float] = defaultdict(float)
        for found_labels, value in self._series(f"{name}_bucket", labels):
            found[float(found_labels["le"])] += value
        return sorted(found.items())

    def _series(
        self, name: str, filters: Mapping[str, LabelFilter]
    ) -> Iterator[tuple[dict[str, str], float]]:
        summed: defaultdict[LabelPairs, float] = defaultdict(float)
        for point in self._points:
            for pairs, value in point.increase.get(name, {}).items():
                summed[pairs] += value
        for pairs, value in summed.items():
            labels = dict(pairs)
            if all(
                labels.get(label) == wanted if isinstance(wanted, str) else labels.get(label) in wanted
                for label, wanted in filters.items()
            ):
                yield labels, value


def quantile(q: float, buckets: list[tuple[float, float]]) -> float | None:
    """Return a quantile of cumulative buckets as Prometheus' ``histogram_quantile``, ``None`` if they are empty.

    It interpolates linearly within a bucket, and returns the last finite bound for the last bucket.
    """
    if len(buckets) < 2 or buckets[-1][1] <= 0:
        return None
    wanted = q * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets[:-1]:
        if count >= wanted:
            return lower + (bound - lower) * ((wanted - below) / (count - below) if count > below else 1.0)
        lower, below = bound, count
    return buckets[-2][0]


def share_above(bound: float, buckets: list[tuple[float, float]]) -> float | None:
    """Return the share of observations above one of the bounds, ``None`` if the buckets are empty."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    return 1 - dict(buckets)[bound] / buckets[-1][1]
