"""Remembering the events of the log's last stretch, so that the stream drops their duplicates.

The stream keeps in the online store, for a while, where it first saw each event. Without what the records that
it does not read again would have left there, a duplicate that comes after them would be counted twice.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise import sql
from reprise.features.plan import Plan
from reprise.store.online_store import OnlineStore
from reprise.store.watermarks import log_position

_EVENTS_A_ROUND_TRIP = 1_000


def remember_arrivals(
    arrivals: Path,
    plan: Plan,
    store: OnlineStore,
    window: timedelta,
    now: datetime | None = None,
    advance: Callable[[int], None] | None = None,
) -> int:
    """Remember where each recent event first arrived, and return how many events that are.

    Args:
        arrivals: Events with their place in the log, as ``gather`` writes them.
        plan: Which events make features; the stream remembers no others.
        store: Where to remember.
        window: For how long an event is remembered; those that arrived longer ago are not.
        now: The present instant; that of the clock if absent.
        advance: Called with the number of events remembered since the last call.

    Raises:
        StoreError: The store is away, or refuses.
    """
    since = (now or datetime.now(UTC)) - window
    count = 0
    with sql.connect() as connection:
        found = connection.execute(
            f"""
            SELECT event_id, topic_id, partition, "offset" FROM read_parquet({sql.literal(arrivals)})
            WHERE topic_id IS NOT NULL AND list_contains(?, event_type)
            QUALIFY row_number() OVER (
                PARTITION BY event_id ORDER BY incarnation, arrival, partition, "offset"
            ) = 1 AND max(arrival) OVER (PARTITION BY event_id) >= ?
            """,
            [list(plan.frames), since],
        )
        while rows := found.fetchmany(_EVENTS_A_ROUND_TRIP):
            entries = [
                (event_id, log_position(uuid.UUID(topic_id).bytes, partition, offset))
                for event_id, topic_id, partition, offset in rows
            ]
            store.claim_event_ids(entries, window)
            count += len(entries)
            if advance is not None:
                advance(len(entries))
    return count
