"""By how much counters grew between two looks, whatever became of the processes meanwhile."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from reprise.status.scrape.exposition import LabelPairs, SeriesKey
from reprise.status.scrape.snapshot import ProcessSnapshot

COUNTED = frozenset(
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
"""The series whose growth is followed; others are read as they stand."""

Counters = Mapping[SeriesKey, float]
Grown = Mapping[str, Mapping[LabelPairs, float]]
"""By how much each series grew: by its name, and by its labels."""


class Increases:
    """Remembers the counters of each process, and adds up by how much all of them grew.

    A counter that fell began anew at zero, with its process, so all of it is growth. A series that a known process
    did not have before has grown from zero. A process that is seen for the first time tells where to count from, and
    so does one that was out of sight for longer than ``forget_seconds``: its growth would be of another time.

    Args:
        forget_seconds: How long a process may be out of sight.
    """

    def __init__(self, forget_seconds: float) -> None:
        self._forget_seconds = forget_seconds
        self._known: dict[tuple[str, str], tuple[float, Counters]] = {}

    def since_last(self, at: float, processes: Iterable[tuple[str, ProcessSnapshot]]) -> Grown:
        """Return the growth since the look before, summed over processes, and remember where they stand.

        Args:
            at: Time of the look, seconds.
            processes: What it found, each with the name of its service.
        """
        grown: defaultdict[str, defaultdict[LabelPairs, float]] = defaultdict(lambda: defaultdict(float))
        for service, process in processes:
            if process.samples is None:
                continue
            now = {key: value for key, value in process.samples.series.items() if key[0] in COUNTED}
            then = self._known.get((service, process.address))
            if then is not None and at - then[0] <= self._forget_seconds:
                for key, value in now.items():
                    before = then[1].get(key, 0.0)
                    grown[key[0]][key[1]] += value - before if value >= before else value
            self._known[service, process.address] = (at, now)
        self._known = {
            key: known for key, known in self._known.items() if at - known[0] <= self._forget_seconds
        }
        return grown
