"""What a backfill tells Prometheus."""

from prometheus_client import CollectorRegistry, Gauge

from reprise.backfill.state_writer import BackfillReport

JOB = "reprise-backfill"


class BackfillMetrics:
    """The figures of the last backfill, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Gauge(
            "reprise_backfill_events", "Events that made the states of the last backfill.", registry=registry
        )
        self._rows = Gauge(
            "reprise_backfill_rows", "Rows that the last backfill wrote.", ("view",), registry=registry
        )
        self._removed = Gauge(
            "reprise_backfill_removed_rows",
            "Rows of other entities that the last backfill removed.",
            registry=registry,
        )

    def show(self, report: BackfillReport) -> None:
        """Take over the figures of a run."""
        self._events.set(report.events)
        for view, rows in report.rows.items():
            self._rows.labels(view).set(rows)
        self._removed.set(report.removed)
