"""Running a backfill with the settings' stores."""

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from reprise.archive import OfflineStore
from reprise.backfill.consumer_group import seek_group
from reprise.backfill.covered import Covered
from reprise.backfill.history import gather
from reprise.backfill.replaceable_store import ReplaceableStore
from reprise.backfill.settings import BackfillSettings
from reprise.backfill.state_writer import BackfillReport, backfill
from reprise.event_files import ImportOptions
from reprise.event_files.importer import import_events
from reprise.features.plan import Plan
from reprise.runtime.progress import progress


def run(
    settings: BackfillSettings,
    events: Path | None,
    offline: str | None,
    options: ImportOptions,
    *,
    replace: bool,
    group: str | None,
    seek_timeout: timedelta,
    memory_limit: str,
) -> BackfillReport:
    """Fill the online store from a file of events, from the offline store, or from the one and then the other.

    Args:
        settings: Where everything is.
        events: A file of events.
        offline: URL of the offline store.
        options: How the file is read.
        replace: Whether to write over what the store holds beyond this, and remove other rows.
        group: The consumer group that is to go on right after the offline store's records.
        seek_timeout: How long to wait for that group to be free.
        memory_limit: What DuckDB may hold before it spills.

    Raises:
        BackfillError: The store holds more than the history, and ``replace`` is not set; or the group is busy.
        EventLogError: The log cannot be reached.
        EventFilesError: The file cannot be used.
        OfflineStoreError: The offline store is empty, lacks records, is damaged, or cannot be read.
        FeatureEngineError: The plan cannot be read, or no event makes features.
        StoreError: The online store is away, or refuses.
    """
    plan = Plan.load(settings.plan)
    with TemporaryDirectory(prefix="reprise-backfill-") as name, ReplaceableStore.connect(settings) as store:
        folder = Path(name)
        source, covered, window = folder / "history.parquet", Covered(), None
        if events is not None:
            import_events(events, source, options=options)
        if offline is not None:
            with progress("Reading the offline store", None, "records") as reading:
                gathered = gather(
                    OfflineStore(offline),
                    folder,
                    history=source if events is not None else None,
                    memory_limit=memory_limit,
                    advance=reading.advance,
                )
            source, covered = gathered.path, gathered.covered
            window = timedelta(seconds=settings.duplicate_window_seconds)
        with progress("Writing states", None, "rows") as writing:
            report = backfill(
                source,
                plan,
                store,
                settings.feast_project,
                covered=covered,
                duplicate_window=window,
                replace=replace,
                memory_limit=memory_limit,
                advance=writing.advance,
            )
        if group is not None:
            seek_group(settings, group, covered.watermarks, seek_timeout.total_seconds())
        return report
