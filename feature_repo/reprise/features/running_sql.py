"""The plan as SQL, once more: the states after each instant, where ``batch_sql`` has those before each row."""

from collections.abc import Mapping

from reprise.features.batch_sql import Past, Span
from reprise.features.plan import EntityPlan

_HALF_LIVES = 512
"""How many half-lives one sum of decayed weights may span: 2^512 leaves a double room for amounts and counts."""

_SQL_TYPES = {"int64": "BIGINT", "double": "DOUBLE"}


class UpToNow(Past):
    """Aggregates over a row's past in one entity and the row itself, in the order of events."""

    def __init__(self, entity: str, span: Span) -> None:
        super().__init__(entity, span)
        self._frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"

    def decayed(self, frame: str, weight: str, half_life_us: int) -> tuple[str, str]:
        """Return the decayed sum at the last event of the dataframe, as the stream keeps it, and that instant.

        A history of more half-lives than fit into a double has it at the row's own instant, which says the same.
        """
        origin, half_life = self._span.first_us, float(half_life_us)
        if (self._span.last_us - origin) / half_life > _HALF_LIVES:
            return super().decayed(frame, weight, half_life_us)
        last = self.over(f"max({frame}_t)")
        grown = self.over(f"sum({weight} * pow(2.0, ({frame}_t - {origin}) / {half_life!r}))")
        return f"coalesce({grown} * pow(2.0, -(({last} - {origin}) / {half_life!r})), 0)", last


def running_select(
    entity: EntityPlan, source: str, span: Span, aggregates: Mapping[str, str] | None = None
) -> str:
    """Return the query of the state after each instant at which an entity had events.

    Its columns are the ids, the fields, ``ts``, and ``is_last`` for the state after all events.

    Args:
        entity: Whose states.
        source: What ``batch_sql.transitions_select`` selects.
        span: The instants between which everything lies.
        aggregates: More aggregates over the events of the state, by name.
    """
    running, keys = UpToNow(entity.name, span), ", ".join(entity.view.join_keys)
    states = [
        f"({sql})::{_SQL_TYPES[field.kind]} AS {field.name}"
        for kept in entity.kept
        for field, sql in zip(kept.fields, kept.sql(running), strict=True)
    ]
    more = [f"{running.over(sql)} AS {name}" for name, sql in (aggregates or {}).items()]
    return (
        f"SELECT {', '.join([keys, *states, *more])}, ts,"
        f" row_number() OVER (PARTITION BY {keys} ORDER BY position DESC) = 1 AS is_last"
        f" FROM ({source}) WINDOW {running.window}"
        f" QUALIFY row_number() OVER (PARTITION BY {keys}, ts ORDER BY position DESC) = 1 ORDER BY {keys}, ts"
    )
