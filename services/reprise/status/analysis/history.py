"""The last hour or so, in memory of a fixed size."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reprise.status.analysis.increases import Grown
from reprise.status.scrape.exposition import LabelPairs

Allowed = str | frozenset[str]
"""The value, or the values, that a label may have."""


@dataclass(frozen=True)
class Round:
    """What is kept of one look.

    Attributes:
        at: When, seconds.
        elapsed: Seconds since the look before; 0 for the first.
        grown: By how much counters grew in that time.
        points: What the curves show of it, ``None`` where it was not known.
    """

    at: float
    elapsed: float
    grown: Grown
    points: dict[str, float | None] = field(default_factory=dict)


class History:
    """The latest looks, the oldest of which go.

    Args:
        capacity: How many are kept.
    """

    def __init__(self, capacity: int) -> None:
        self._rounds: deque[Round] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._rounds)

    def add(self, at: float, grown: Grown) -> None:
        """Keep a look."""
        elapsed = at - self._rounds[-1].at if self._rounds else 0.0
        self._rounds.append(Round(at, elapsed, grown))

    def note(self, points: Mapping[str, float | None]) -> None:
        """Keep what the curves show of the latest look."""
        self._rounds[-1].points.update(points)

    def window(self, seconds: float) -> "Window":
        """Return the latest looks whose growth is of the last so many seconds, one at least if there are two."""
        chosen: list[Round] = []
        covered = 0.0
        for each in reversed(self._rounds):
            if each.elapsed <= 0 or (chosen and covered + each.elapsed > seconds + 1e-9):
                break
            chosen.append(each)
            covered += each.elapsed
        return Window(chosen, covered)

    def points(self, name: str) -> list[float | None]:
        """Return a curve's points, the oldest first."""
        return [each.points.get(name) for each in self._rounds]

    @property
    def seconds(self) -> float:
        """How far back it goes."""
        return self._rounds[-1].at - self._rounds[0].at if self._rounds else 0.0


class Window:
    """The growth of counters over some looks.

    Attributes:
        seconds: How much time they cover; 0 where there is none yet.
    """

    def __init__(self, rounds: Sequence[Round], seconds: float) -> None:
        self.seconds = seconds
        self._rounds = rounds

    def increase(self, name: str, **allowed: Allowed) -> float | None:
        """Return by how much the series of this name grew; ``None`` where no process has one.

        Args:
            name: Of the series.
            allowed: Which of them, by their labels.
        """
        found = [value for _, value in self._chosen(name, allowed)]
        return sum(found) if found else None

    def rate(self, name: str, **allowed: Allowed) -> float | None:
        """Return the same, a second."""
        grown = self.increase(name, **allowed)
        return grown / self.seconds if grown is not None and self.seconds > 0 else None

    def buckets(self, name: str, **allowed: Allowed) -> list[tuple[float, float]]:
        """Return the growth of a histogram's buckets, each with its upper bound, in order."""
        found: defaultdict[float, float] = defaultdict(float)
        for labels, value in self._chosen(f"{name}_bucket", allowed):
            found[float(labels["le"])] += value
        return sorted(found.items())

    def _chosen(self, name: str, allowed: Mapping[str, Allowed]) -> Iterator[tuple[dict[str, str], float]]:
        summed: defaultdict[LabelPairs, float] = defaultdict(float)
        for each in self._rounds:
            for pairs, value in each.grown.get(name, {}).items():
                summed[pairs] += value
        for pairs, value in summed.items():
            labels = dict(pairs)
            if all(_allows(wanted, labels.get(label)) for label, wanted in allowed.items()):
                yield labels, value


def _allows(wanted: Allowed, value: str | None) -> bool:
    return value == wanted if isinstance(wanted, str) else value in wanted


def quantile(q: float, buckets: list[tuple[float, float]]) -> float | None:
    """Return a quantile of a histogram, as Prometheus' ``histogram_quantile`` does; ``None`` where it is empty.

    Within a bucket observations are taken to be spread evenly; beyond the last bound it is that bound.

    Args:
        q: Between 0 and 1.
        buckets: Upper bounds in ascending order, and how many observations are up to each.
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
    """Return the share of observations above one of a histogram's bounds; ``None`` where it is empty."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    return 1 - dict(buckets)[bound] / buckets[-1][1]
