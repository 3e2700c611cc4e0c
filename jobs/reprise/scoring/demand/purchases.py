"""Purchases of a history by product and window of time."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from reprise import sql
from reprise.evaluation.classification_metrics import Floats


@dataclass(frozen=True, slots=True)
class Totals:
    """Each product's buyers and purchases within a window, of pairs with a purchase before it and of new ones."""

    repeat_buyers: Floats
    repeat_units: Floats
    new_buyers: Floats
    new_units: Floats

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def units(self) -> Floats:
        """All purchases."""
        return self.repeat_units + self.new_units


class Purchases(AbstractContextManager["Purchases"]):
    """The purchases before an instant, microseconds; a context manager.

    ``products`` are the ids of all arrays, in order; ``first_us`` and ``mean_amount`` are each product's.
    """

    def __init__(self, events: Path, purchase_type: str, before_us: int, memory_limit: str) -> None:
        self._connection = sql.connect(memory_limit=memory_limit, temp_directory=events.parent / "spill")
        self._connection.execute(
            f"""
            CREATE TEMP TABLE purchases AS
            SELECT dense_rank() OVER (ORDER BY product_id) - 1 AS product, product_id, user_id, ts, amount,
                min(ts) OVER (PARTITION BY product_id, user_id) AS first_us
            FROM (
                SELECT *, epoch_us(timestamp) AS ts FROM {sql.first_of_each_id(sql.numbered_rows(events))}
            ) WHERE event_type = {sql.literal(purchase_type)} AND ts < {before_us}
            """
        )
        found = self._connection.sql(
            "SELECT product_id, min(ts) AS first_us FROM purchases GROUP BY product_id ORDER BY product_id"
        ).to_arrow_table()
        self.products = found["product_id"].combine_chunks()
        self.first_us = found["first_us"].to_numpy()
        self.start_us = int(self.first_us.min(initial=before_us))

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def within(self, start_us: int, end_us: int) -> Totals:
        """Return the totals of [start, end)."""
        columns = [
            f"count({what}) FILTER (first_us {past} {start_us})"
            for past in ("<", ">=")
            for what in ("DISTINCT user_id", "*")
        ]
        return Totals(*self._by_product(columns, f"ts >= {start_us} AND ts < {end_us}"))

    def windows_before(self, at_us: int, length_us: int, number: int) -> list[Totals]:
        """Return the totals of the last windows that end at an instant, the latest first, back to the first event."""
        starts = (at_us - back * length_us for back in range(1, number + 1))
        return [self.within(start, start + length_us) for start in starts if start >= self.start_us]

    def mean_amount(self, before_us: int) -> Floats:
        """Return each product's mean amount of purchases before an instant; 0 where none has an amount."""
        amounts: Floats = self._by_product(["avg(amount)"], f"ts < {before_us} AND amount IS NOT NULL")[0]
        return amounts

    def _by_product(self, columns: list[str], condition: str) -> Floats:
        out: Floats = np.zeros((len(columns), len(self.products)))
        found = self._connection.execute(
            f"SELECT product, {', '.join(columns)} FROM purchases WHERE {condition} GROUP BY product"
        ).fetchnumpy()
        at, *values = found.values()
        out[:, np.asarray(at)] = np.array([np.asarray(value, np.float64) for value in values])
        return out
