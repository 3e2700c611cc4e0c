"""What results are computed from: events, an instant and a model."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pyarrow.parquet as pq

from reprise import sql
from reprise.archive import OfflineStore, prepend_history, write_events
from reprise.bundle import Bundle, BundleStore
from reprise.bundle.scorer import Scorer, horizon_scorers
from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions
from reprise.features.executors.executor_choice import executor_opener
from reprise.features.executors.plan_executor import EventsSummary, PlanExecutor
from reprise.features.plan import Plan
from reprise.runtime.durations import EPOCH, format_duration, microseconds
from reprise.runtime.progress import progress
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.settings import ScoringSettings

_DEFAULTS = ImportOptions()


class ScoringInputs(AbstractContextManager["ScoringInputs"]):
    """The events, the instant and the model of one result or several; a context manager.

    The model is fetched, and the events are read into a temporary folder, when a result first needs them. All
    results have the same.

    Args:
        settings: Which model, and the form of the output.
        events: A file, a folder or a pattern of events; with ``offline``, those from before the log.
        offline: URL of the offline store.
        at: The instant: earlier events count, later ones do not.
        import_options: How the files are read.
        memory_limit: Memory limit of DuckDB, and of Spark's driver.
    """

    def __init__(
        self,
        settings: ScoringSettings,
        events: Path | None,
        offline: str | None,
        at: datetime,
        import_options: ImportOptions = _DEFAULTS,
        memory_limit: str = sql.MEMORY_LIMIT,
    ) -> None:
        self.settings = settings
        self.at = at.astimezone(UTC)
        self.memory_limit = memory_limit
        self._source = (events, offline)
        self._import_options = import_options
        self._temporary = TemporaryDirectory(prefix="reprise-scoring-")

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    @property
    def folder(self) -> Path:
        """A folder for temporary files."""
        return Path(self._temporary.name)

    @property
    def at_us(self) -> int:
        """The instant, microseconds since 1970-01-01 UTC."""
        return microseconds(self.at - EPOCH)

    @cached_property
    def models(self) -> BundleStore:
        """The model store; raises ``StorageAddressError``."""
        return self.settings.open_models(self.settings.model_store)

    @cached_property
    def bundle(self) -> Bundle:
        """The bundle that scores; raises ``BundleError`` or ``StorageError``."""
        wanted = self.settings.model
        return self.models.fetch(self.models.latest() if wanted == "latest" else wanted)

    @property
    def horizon_seconds(self) -> int:
        """The horizon that is scored; raises ``ScoringError`` if the model lacks it."""
        manifest, wanted = self.bundle.manifest, self.settings.horizon
        known = (manifest.horizon_seconds, *(each.seconds for each in manifest.horizons))
        for seconds in known:
            if wanted in (None, timedelta(seconds=seconds)):
                return seconds
        listed = ", ".join(format_duration(timedelta(seconds=seconds)) for seconds in sorted(known))
        raise ScoringError(f"{self.bundle.digest} does not answer for this --horizon, but for {listed}")

    @property
    def further_horizon(self) -> int | None:
        """The seconds of a further horizon; None for the model's own."""
        seconds = self.horizon_seconds
        return None if seconds == self.bundle.manifest.horizon_seconds else seconds

    def job_name(self, job: str) -> str:
        """Return the name of a job's metrics; those of a given horizon do not replace a nightly run's."""
        horizon = self.settings.horizon
        return job if horizon is None else f"{job}-{format_duration(horizon)}"

    def scorer(self) -> Scorer:
        """Return the published model's scorer of the horizon; raises ``UnusableModelError``."""
        bundle, graphs = self.bundle, {} if self.further_horizon is None else self.bundle.horizons
        return horizon_scorers(bundle.manifest, Scorer.of(bundle), graphs)[self.horizon_seconds]

    def evaluated_scorer(self) -> Scorer:
        """Return that of the evaluated model; raises ``BundleError`` too."""
        bundle, manifest = self.bundle, self.bundle.manifest
        graph, model = self.models.evaluated_model(bundle), manifest.model
        evaluated = Scorer(graph, model.input, model.output, manifest.input_names)
        graphs = {} if self.further_horizon is None else self.models.evaluated_horizons(bundle)
        return horizon_scorers(manifest, evaluated, graphs)[self.horizon_seconds]

    @cached_property
    def plan(self) -> Plan:
        """The bundle's plan; raises ``PlanError``."""
        return Plan.from_dict(self.bundle.manifest.plan)

    @cached_property
    def history(self) -> Path:
        """A Parquet file of the events; raises ``RepriseError`` if they are unavailable or unusable.

        The import's report is printed to standard error.
        """
        (events, offline), limit = self._source, self.memory_limit
        imported, archived, both = (
            self.folder / f"{name}.parquet" for name in ("imported", "archived", "both")
        )
        if events is not None:
            with progress("Reading the events", 1, "steps") as bar:
                report = import_events(
                    events,
                    imported,
                    options=self._import_options,
                    memory_limit=limit,
                    temp_directory=self.folder,
                )
                bar.advance()
            click.echo(report.render(), err=True)
        if offline is None:
            return imported
        with progress("Reading the offline store", None, "records") as bar:
            write_events(
                OfflineStore(offline), archived, order="arrival", memory_limit=limit, advance=bar.advance
            )
        if events is None:
            return archived
        prepend_history(imported, archived, both, limit)
        return both

    @cached_property
    def open_executor(self) -> Callable[..., PlanExecutor]:
        """What opens the executor of the settings for the number of events; see ``executor_opener``."""
        return executor_opener(
            self.settings, self.settings.choose_executor(pq.read_metadata(self.history).num_rows)
        )

    def executor(self) -> PlanExecutor:
        """Open the plan's executor; raises ``FeatureEngineError`` if it is unavailable."""
        return self.open_executor(self.plan, memory_limit=self.memory_limit, temp_directory=self.folder)

    def part_names(self, count: int, events: EventsSummary) -> list[str]:
        """Return the names of the files of one result.

        Files of other events, another instant of the date or another chunk have other names.
        """
        described = f"{self.at} {self.bundle.digest} {self.settings.chunk} {events}"
        run = sha256(described.encode()).hexdigest()[:8]
        return [f"part-{number:05}-of-{count:05}-{run}.{self.settings.format}" for number in range(count)]

    def describe(self, events: EventsSummary, files: Sequence[str], horizon_seconds: int) -> dict[str, Any]:
        """Return the fields of ``RunManifest``."""
        return {
            "at": self.at,
            "model": self.bundle.digest,
            "format": self.settings.format,
            "horizon_seconds": horizon_seconds,
            "chunk": self.settings.chunk,
            "events": events.count,
            "last_event": EPOCH + timedelta(microseconds=events.last_us),
            "purchase_type": self.plan.purchase_type,
            "refund_window_seconds": self.bundle.manifest.refund_window_seconds,
            "files": list(files),
        }
