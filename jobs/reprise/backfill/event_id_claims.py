"""Event ids that the stream needs to drop duplicates of backfilled events."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise import sql
from reprise.features.plan import Plan
from reprise.store.online_store import OnlineStore
from reprise.store.watermarks import log_position

_BATCH_EVENTS = 1_000


def claim_event_ids(events: Path, plan: Plan, store: OnlineStore, window: timedelta) -> int:
    """Store the first log position of each event that arrived within the window; return how many events.

    The stream stores the same for the records that it reads, and does not read the backfilled ones. ``events`` has log
    positions, as ``collect_history`` writes them. Only the plan's event types count.

    Raises:
        StoreError: The store is unavailable, or refuses.
    """
    count = 0
    with sql.connect() as connection:
        recent = connection.execute(
            f"""
            SELECT event_id, topic_id, partition, "offset" FROM read_parquet({sql.literal(events)})
            WHERE topic_id IS NOT NULL AND list_contains(?, event_type)
            QUALIFY row_number() OVER (
                PARTITION BY event_id ORDER BY incarnation, arrival, partition, "offset"
            ) = 1 AND max(arrival) OVER (PARTITION BY event_id) >= ?
            """,
            [list(plan.frames), datetime.now(UTC) - window],
        )
        while rows := recent.fetchmany(_BATCH_EVENTS):
            claims = [
                (event_id, log_position(uuid.UUID(topic_id).bytes, partition, offset))
                for event_id, topic_id, partition, offset in rows
            ]
            store.claim_event_ids(claims, window)
            count += len(claims)
    return count
