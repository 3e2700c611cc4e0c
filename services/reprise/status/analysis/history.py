"""The last hour of counters and curves, in memory of a fixed size."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reprise.status.scrape.exposition import LabelPairs, Series
from reprise.status.scrape.snapshot import Snapshot

COUNTERS = frozenset(
    {
        "reprise_archiver_lost_records_total",
        "reprise_archiver_records_total",
        "reprise_materializer_events_total",
        "reprise_materializer_freshness_seconds_bucket",
        "reprise_predictor_arm_answers_total",
        "reprise_predictor_request_seconds_bucket",
        "reprise_predictor_requests_total",
        "reprise_producer_events_total",
    }
)
"""The series whose increase is followed; the others are read as gauges."""

LabelFilter = str | frozenset[str]
"""The accepted value, or values, of a label."""


@dataclass(frozen=True)
class _Point:
    """What is kept of one snapshot: its time, seconds since the previous one, increases and values of the curves."""

    at: float
    elapsed: float
    increases: Series
    values: dict[str, float | None] = field(default_factory=dict)


class History:
    """The latest ``capacity`` snapshots.

    Increases are computed per process and then summed. A counter that fell was reset with its process, so its whole
    value is increase. A process that the previous snapshot did not have only sets the start.
    """

    def __init__(self, capacity: int) -> None:
        self._points: deque[_Point] = deque(maxlen=capacity)
        self._latest: dict[tuple[str, str], Series] = {}

    def add(self, at: float, snapshot: Snapshot) -> None:
        """Keep a snapshot, taken at this monotonic time in seconds."""
        latest = {
            (service.name, process.address): process.samples.series
            for service in snapshot.services
            for process in service.processes
            if process.samples is not None
        }
        increases: defaultdict[str, defaultdict[LabelPairs, float]] = defaultdict(lambda: defaultdict(float))
        for process_key in latest.keys() & self._latest.keys():
            for name in COUNTERS & latest[process_key].keys():
                before = self._latest[process_key].get(name, {})
                for labels, value in latest[process_key][name].items():
                    then = before.get(labels, 0.0)
                    increases[name][labels] += value - then if value >= then else value
        self._latest = latest
        self._points.append(_Point(at, at - self._points[-1].at if self._points else 0.0, increases))

    def set_values(self, values: Mapping[str, float | None]) -> None:
        """Set the values of the curves at the latest snapshot."""
        self._points[-1].values.update(values)

    def window(self, seconds: float) -> "Window":
        """Return the latest snapshots of this many seconds, at least one if there are two."""
        chosen: list[Series] = []
        covered = 0.0
        for point in reversed(self._points):
            if point.elapsed <= 0 or (covered and covered + point.elapsed > seconds + 1e-9):
                break
            chosen.append(point.increases)
            covered += point.elapsed
        return Window(chosen, covered)

    def curve(self, name: str) -> tuple[float | None, ...]:
        """Return the values of a curve, the oldest first."""
        return tuple(point.values.get(name) for point in self._points)

    @property
    def seconds(self) -> float:
        """Time between the oldest and the latest snapshot."""
        return self._points[-1].at - self._points[0].at if self._points else 0.0


@dataclass(frozen=True)
class Window:
    """The increases of counters over some snapshots, which cover ``seconds``; 0 before the second snapshot."""

    increases: Sequence[Series]
    seconds: float

    def increase(self, name: str, **labels: LabelFilter) -> float:
        """Return the increase of the series of this name and these labels."""
        return sum(value for _, value in self._series(name, labels))

    def rate(self, name: str, **labels: LabelFilter) -> float | None:
        """Return the increase per second, ``None`` before the second snapshot."""
        return self.increase(name, **labels) / self.seconds if self.seconds else None

    def quantile(self, q: float, histogram: str, **labels: LabelFilter) -> float | None:
        """Return a quantile as Prometheus' ``histogram_quantile``, ``None`` if nothing was observed.

        It interpolates linearly within a bucket, and returns the last finite bound for the last bucket.
        """
        cumulative: defaultdict[float, float] = defaultdict(float)
        for found, value in self._series(f"{histogram}_bucket", labels):
            cumulative[float(found["le"])] += value
        *finite, (_, total) = sorted(cumulative.items()) or [(0.0, 0.0)]
        if not finite or total <= 0:
            return None
        lower, below = 0.0, 0.0
        for bound, count in finite:
            if count >= q * total:
                return lower + (bound - lower) * (
                    (q * total - below) / (count - below) if count > below else 1.0
                )
            lower, below = bound, count
        return lower

    def _series(
        self, name: str, filters: Mapping[str, LabelFilter]
    ) -> Iterator[tuple[dict[str, str], float]]:
        accepted = {
            label: {wanted} if isinstance(wanted, str) else wanted for label, wanted in filters.items()
        }
        # Of the series of this name alone: a window of an hour has hundreds of snapshots.
        summed: defaultdict[LabelPairs, float] = defaultdict(float)
        for increases in self.increases:
            for pairs, value in increases.get(name, {}).items():
                summed[pairs] += value
        for pairs, value in summed.items():
            labels = dict(pairs)
            if all(labels.get(label) in values for label, values in accepted.items()):
                yield labels, value
