"""Each row's past on Spark where a window would put too much on one task: time buckets, merged by prefix.

A window computes all rows of a key in one task. So a key's time is cut into buckets. A row's past is the state of the
earlier buckets, which is merged from a partial state of each, and the past within the row's own bucket, which is a
window. Keys with few rows have one bucket, unless the history has more half-lives than a double can hold.
"""

from reprise.features.executors.batch_sql import BUCKET_HALF_LIVES, Past, Span, grown_weights
from reprise.features.feature_functions import double
from reprise.features.plan import EntityPlan
from reprise.features.sql_dialect import SPARK

_NO_MOMENTS = "named_struct('n', 0D, 'total', 0D, 'squares', 0D)"
_SHIFT = "(b.total / nullif(b.n, 0D) - a.total / nullif(a.n, 0D))"
_MERGE_MOMENTS = (  # as in ``accumulators``
    "(a, b) -> named_struct('n', a.n + b.n, 'total', a.total + b.total, 'squares',"
    f" a.squares + b.squares + coalesce(pow({_SHIFT}, 2D) * a.n * b.n / nullif(a.n + b.n, 0D), 0D))"
)


class BucketedPast(Past):
    """Aggregates over each row's past in one entity, for rows of ``bucketed``.

    ``hot_keys`` and ``earlier`` are the names of the tables that it needs.
    """

    def __init__(self, entity: EntityPlan, span: Span) -> None:
        super().__init__(entity.name, span, SPARK)
        self._start = f"{entity.name}_start"
        self._earlier_states: dict[str, str] = {}  # by the partial state of a bucket, which they merge
        length = span.last_us - span.first_us + 1
        half_lives = [
            each.spec["half_life_us"] for each in entity.accumulators if "half_life_us" in each.spec
        ]
        self._bucket_us = min(length, BUCKET_HALF_LIVES * min(half_lives, default=length))
        self.has_one_bucket = self._bucket_us == length  # for a key that is not hot
        self.hot_keys, self.earlier = f"hot_{entity.name}", f"{entity.name}_earlier"
        self.window = f"{self._window} AS (PARTITION BY {self._partition}, {self._start} {self._frame})"

    def over(self, aggregate: str) -> str:
        """Return a sum, minimum or maximum over the past."""
        function = aggregate.partition("(")[0]
        earlier = self._earlier(aggregate, f"{function}({{0}}) OVER earlier")
        own = super().over(aggregate)
        if function == "sum":
            return f"(coalesce({earlier}, 0) + coalesce({own}, 0))"
        return f"{ {'min': 'least', 'max': 'greatest'}[function] }({earlier}, {own})"

    def at_end(self, end: str, value: str) -> str:
        """Return the value in the first or last row of the past that has it."""
        earlier = self._earlier(
            self.dialect.end_of_group(end, value), f"{end}_value({{0}}, true) OVER earlier"
        )
        own = super().over(self.dialect.end_of_window(end, value))
        return f"coalesce({earlier}, {own})" if end == "first" else f"coalesce({own}, {earlier})"

    def squares(self, value: str) -> str:
        """Return the centred sum of squares in the past."""

        def moments(over: str) -> str:
            return (
                f"named_struct('n', count({value}){over}::DOUBLE, 'total', coalesce(sum({value}){over}, 0D),"
                f" 'squares', coalesce(var_pop({value}){over} * count({value}){over}, 0D))"
            )

        earlier = self._earlier(
            moments(""), f"aggregate(collect_list({{0}}) OVER earlier, {_NO_MOMENTS}, {_MERGE_MOMENTS})"
        )
        own = moments(f" OVER {self._window}")
        return f"aggregate(array({own}), coalesce({earlier}, {_NO_MOMENTS}), {_MERGE_MOMENTS}).squares"

    def decayed(self, frame: str, weight: str, half_life_us: int) -> tuple[str, str]:
        """Return the decayed sum at the row's own instant, and that instant; null without events.

        Weights are scaled to the start of their bucket, which has at most ``BUCKET_HALF_LIVES``.
        """
        half_life = double(float(half_life_us))
        age = f"(ts - {self._start}) / {half_life}"
        grown = grown_weights(frame, weight, age)
        earlier = self._earlier(
            f"named_struct('start', {self._start}, 'total', coalesce({grown}, 0D))",
            f"aggregate(collect_list({{0}}) OVER earlier, 0D, (total, one) ->"
            f" total + one.total * pow(2.0, (one.start - {self._start}) / {half_life}))",
        )
        total = f"coalesce({earlier}, 0D) + coalesce({super().over(grown)}, 0D)"
        return f"({total}) * pow(2.0, -({age}))", self._reference(frame)

    def hot_keys_select(self, rows: str, max_rows: int) -> str:
        """Return the query of ``hot_keys``: those of more rows, and the ``bucket_us`` that gives about as many."""
        even = f"{double(float(max_rows))} * (max(ts) - min(ts) + 1) / count(*)"
        width = f"least({double(float(self._bucket_us))}, greatest(1D, {even}))::BIGINT"
        return (
            f"SELECT {self._partition}, {width} AS bucket_us FROM {rows}"
            f" GROUP BY {self._partition} HAVING count(*) > {max_rows}"
        )

    def bucketed(self, rows: str, join: str = "LEFT JOIN") -> str:
        """Return ``rows`` with the start of their bucket."""
        start = f"ts - pmod(ts - {self._span.first_us}, coalesce(bucket_us, {self._bucket_us}))"
        return (
            f"(SELECT * EXCEPT (bucket_us), {start} AS {self._start}"
            f" FROM {rows} {join} {self.hot_keys} USING ({self._partition}))"
        )

    def earlier_select(self, rows: str) -> str:
        """Return the query of ``earlier``: the merged states of the buckets before each, but the history's first.

        ``rows`` have no buckets yet. All aggregates must have been asked for.
        """
        rows = self.bucketed(rows, "JOIN" if self.has_one_bucket else "LEFT JOIN")
        columns = {self._column(number): states for number, states in enumerate(self._earlier_states.items())}
        partials = ", ".join(f"{partial} AS {name}" for name, (partial, _) in columns.items())
        merged = ", ".join(f"{earlier.format(name)} AS {name}" for name, (_, earlier) in columns.items())
        bucket = f"{self._partition}, {self._start}"
        return (
            f"SELECT * FROM (SELECT {bucket}, {merged}"
            f" FROM (SELECT {bucket}, {partials} FROM {rows} GROUP BY {bucket})"
            f" WINDOW earlier AS (PARTITION BY {self._partition} ORDER BY {self._start}"
            " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))"
            f" WHERE {self._start} > {self._span.first_us}"
        )

    def with_earlier(self, rows: str) -> str:
        """Return ``rows`` of ``bucketed`` with the columns of ``earlier``."""
        return f"(SELECT * FROM {rows} LEFT JOIN {self.earlier} USING ({self._partition}, {self._start}))"

    def _earlier(self, partial: str, earlier: str) -> str:
        """Return the column with the merged states of the earlier buckets; ``earlier`` is a format of the partial's."""
        self._earlier_states.setdefault(partial, earlier)
        return self._column(list(self._earlier_states).index(partial))

    def _column(self, number: int) -> str:
        return f"{self.earlier}_{number}"
