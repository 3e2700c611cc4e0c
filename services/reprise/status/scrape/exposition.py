"""Reprise's metrics in Prometheus' text exposition format."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from reprise.runtime.exceptions import RepriseError

Labels = Mapping[str, str]
LabelPairs = tuple[tuple[str, str], ...]
"""Labels in the order of their names."""

Series = Mapping[str, Mapping[LabelPairs, float]]
"""The value of each series by name and labels."""

_KEPT = ("reprise_", "process_start_time_seconds")


class UnreadableError(RepriseError):
    """A process did not answer, or its answer cannot be read; the page shows the message."""


class NoMetricsError(UnreadableError):
    """A page of metrics has none of Reprise."""


@dataclass(frozen=True)
class Samples:
    """The values of one page of metrics."""

    series: Series

    def all(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """Give labels and value of the series with this name and these labels."""
        for pairs, value in self.series.get(name, {}).items():
            if labels.items() <= (series_labels := dict(pairs)).items():
                yield series_labels, value

    def having(self, labels: Labels) -> "Samples":
        """Return the series that have these labels."""
        kept = labels.items()
        found = {
            name: {pairs: value for pairs, value in series.items() if kept <= dict(pairs).items()}
            for name, series in self.series.items()
        }
        return Samples(found)

    def one(self, name: str, **labels: str) -> float | None:
        """Return the value of the first such series, ``None`` if there is none."""
        return next((value for _, value in self.all(name, **labels)), None)


def parse(text: str) -> Samples:
    """Return the samples of Reprise's metrics on a page.

    Raises:
        UnreadableError: The text is no such page, or has no metrics of Reprise.
    """
    # The parser needs the types, and no help texts.
    lines = (line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(_KEPT))
    series: defaultdict[str, dict[LabelPairs, float]] = defaultdict(dict)
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                series[sample.name][tuple(sorted(sample.labels.items()))] = float(sample.value)
    except (ValueError, KeyError, IndexError) as error:
        raise UnreadableError("its answer is no page of metrics") from error
    if not series:
        raise NoMetricsError("its metrics are not Reprise's")
    return Samples(dict(series))
