"""Prometheus' text format, as far as Reprise's own metrics use it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from reprise.status.exceptions import NothingOfOursError, UnreadableError

Labels = Mapping[str, str]
LabelPairs = tuple[tuple[str, str], ...]
"""Labels in the order of their names."""

SeriesKey = tuple[str, LabelPairs]
"""A sample's name and its labels."""

_KEPT = ("reprise_", "process_start_time_seconds")


@dataclass(frozen=True)
class Samples:
    """What one page of metrics says.

    Attributes:
        series: The value of each series.
    """

    series: Mapping[SeriesKey, float]

    def all(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """Give labels and value of the series of this name that have these labels."""
        for (found, pairs), value in self.series.items():
            if found == name:
                of = dict(pairs)
                if labels.items() <= of.items():
                    yield of, value

    def one(self, name: str, **labels: str) -> float | None:
        """Return the value of the first such series, ``None`` where there is none."""
        return next((value for _, value in self.all(name, **labels)), None)


def parse(text: str) -> Samples:
    """Return the samples of Reprise's metrics on a page.

    Raises:
        UnreadableError: It is no such page, or has none of them.
    """
    lines = (line for line in text.splitlines() if _is_kept(line))
    series: dict[SeriesKey, float] = {}
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                series[sample.name, tuple(sorted(sample.labels.items()))] = float(sample.value)
    except (ValueError, KeyError, IndexError) as error:
        raise UnreadableError("what it answers are no metrics") from error
    if not series:
        raise NothingOfOursError("what it answers has no metrics of Reprise")
    return Samples(series)


def _is_kept(line: str) -> bool:
    # Types decide how names are read; the help of a metric does not.
    return line.removeprefix("# TYPE ").startswith(_KEPT)
