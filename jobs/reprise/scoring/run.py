"""One run of the scoring job: from events and a model to files of probabilities."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from reprise import sql
from reprise.archive import OfflineStore, prepend_history, write_events
from reprise.bundle import Bundle, BundleStore
from reprise.bundle.scorer import Scorer
from reprise.event_files.importer import import_events
from reprise.event_files.options import ImportOptions
from reprise.features.executors.batch import BatchExecutor
from reprise.features.plan import Plan
from reprise.runtime.durations import EPOCH, format_duration, microseconds
from reprise.runtime.job_metrics import reported_job
from reprise.runtime.progress import progress
from reprise.scoring.exceptions import ScoringError
from reprise.scoring.metrics import JOB, ScoringMetrics
from reprise.scoring.output import SCHEMA, Manifest, ScoreDirectory, in_sample_warning
from reprise.scoring.settings import ScoringSettings

_DEFAULTS = ImportOptions()


@dataclass(frozen=True, slots=True)
class ScoringReport:
    """The scores' manifest and location, and what the run did: pairs scored, files that were there, seconds."""

    manifest: Manifest
    location: str
    is_complete: bool = True  # Before the run
    scored: int = 0
    present: int = 0
    seconds: float = 0.0
    model_knows_until: str = ""  # Time of the last event that the model has learnt from

    def __str__(self) -> str:
        found = self.manifest
        horizon = format_duration(timedelta(seconds=found.horizon_seconds))
        what = f"{found.pairs:,} pairs at {found.at.isoformat()} by {found.model}, horizon {horizon}"
        if self.is_complete:
            return f"nothing to do: {self.location} has the scores of {what}"
        present = f"; {self.present} of {len(found.files)} files were there" if self.present else ""
        lines = [
            f"{self.location}: {what}",
            f"{found.events:,} events before the instant, the last at {found.last_event.isoformat()}",
            f"scored {self.scored:,} pairs in {self.seconds:.1f} s{present}",
        ]
        lines += in_sample_warning(self.model_knows_until, found.at)
        return "\n".join(lines)


def score(
    settings: ScoringSettings,
    events: Path | None,
    offline: str | None,
    at: datetime,
    import_options: ImportOptions = _DEFAULTS,
    memory_limit: str = sql.MEMORY_LIMIT,
) -> ScoringReport:
    """Score the pairs with a purchase before an instant, from a file of events, the offline store, or both.

    Raises:
        RepriseError: The events, the model or the output is unavailable or unusable, or nobody bought anything.
    """
    started, at = time.monotonic(), at.astimezone(UTC)
    with reported_job(JOB, settings) as job, TemporaryDirectory(prefix="reprise-scores-") as name:
        metrics = ScoringMetrics(job.registry)
        _, bundle = open_bundle(settings)
        out = ScoreDirectory(settings.out, at, bundle.digest, Manifest)
        complete = out.manifest()
        wanted = (at, bundle.digest, settings.format)
        if complete and (complete.at, complete.model, complete.format) == wanted:
            metrics.show(complete)
            return ScoringReport(complete, out.location)
        history = read_history(Path(name), events, offline, import_options, memory_limit)
        plan = Plan.from_dict(bundle.manifest.plan)
        with BatchExecutor(plan, memory_limit=memory_limit, temp_directory=Path(name)) as executor:
            executor.load_events(history, before_us=microseconds(at - EPOCH))
            manifest, scored, present = _write_scores(executor, bundle, at, settings, out, Path(name))
        metrics.show(manifest)
    seconds = time.monotonic() - started
    return ScoringReport(manifest, out.location, False, scored, present, seconds, bundle.manifest.data.last)


def open_bundle(settings: ScoringSettings) -> tuple[BundleStore, Bundle]:
    """Return the model store and the bundle that scores; raises ``BundleError`` or ``StorageError``."""
    models = settings.open_models(settings.model_store)
    return models, models.fetch(models.latest() if settings.model == "latest" else settings.model)


def _write_scores(
    executor: BatchExecutor,
    bundle: Bundle,
    at: datetime,
    settings: ScoringSettings,
    out: ScoreDirectory[Manifest],
    folder: Path,
) -> tuple[Manifest, int, int]:
    """Write the parts that are missing, and the manifest; return it, the pairs scored and the parts found."""
    with progress("Computing states", 1, "steps") as bar:
        pairs = executor.load_pairs(settings.chunk)
        bar.advance()
    events = executor.summary()
    if not sum(pairs):
        raise ScoringError(f"there are {events.count:,} events before {at.isoformat()}, but no purchase")
    # Parts of other events, another instant of the date or another chunk are not this run's
    tag = sha256(f"{at} {bundle.digest} {settings.chunk} {events}".encode()).hexdigest()[:8]
    parts = {
        f"part-{number:05}-of-{len(pairs):05}-{tag}.{settings.format}": number
        for number, count in enumerate(pairs)
        if count
    }
    present = out.begin(parts)
    scorer = Scorer.of(bundle)
    missing = {name: number for name, number in parts.items() if name not in present}
    with progress("Scoring", sum(pairs[number] for number in missing.values()), "pairs") as bar:
        for name, number in missing.items():
            rows = score_pairs(executor, scorer, number, at)
            out.write(name, rows, folder, bar.advance)
    manifest = Manifest(
        at=at,
        model=bundle.digest,
        format=settings.format,
        horizon_seconds=bundle.manifest.horizon_seconds,
        chunk=settings.chunk,
        events=events.count,
        last_event=EPOCH + timedelta(microseconds=events.last_us),
        pairs=sum(pairs),
        files=list(parts),
    )
    out.finish(manifest)
    return manifest, bar.finished, len(present)


def score_pairs(executor: BatchExecutor, scorer: Scorer, part: int, at: datetime) -> Iterator[pa.RecordBatch]:
    """Yield the scores of a part of the executor's pairs, ``output.SCHEMA``; raises ``ScoringError``."""
    rows = executor.pair_rows(part, microseconds(at - EPOCH))
    for batch, inputs in executor.with_inputs(rows):
        probabilities = scorer.score(inputs)
        if not np.all((probabilities >= 0) & (probabilities <= 1)):
            raise ScoringError("the model's graph gives a score that is not a probability")
        ids = [batch.column(name) for name in ("user_id", "product_id")]
        bought = [batch.column(name) for name in ("purchases", "mean_amount", "last_purchase")]
        yield pa.RecordBatch.from_arrays([*ids, pa.array(probabilities), *bought], schema=SCHEMA)


def read_history(
    folder: Path, events: Path | None, offline: str | None, options: ImportOptions, memory_limit: str
) -> Path:
    """Return a Parquet file of the events of files, of the offline store, or of files and then the store."""
    imported, archived, both = (folder / f"{name}.parquet" for name in ("imported", "archived", "both"))
    if events is not None:
        with progress("Reading the events", 1, "steps") as bar:
            import_events(events, imported, options=options, memory_limit=memory_limit, temp_directory=folder)
            bar.advance()
    if offline is None:
        return imported
    with progress("Reading the offline store", None, "records") as bar:
        write_events(
            OfflineStore(offline), archived, order="arrival", memory_limit=memory_limit, advance=bar.advance
        )
    if events is None:
        return archived
    prepend_history(imported, archived, both, memory_limit)
    return both
