"""Final states of users, products and pairs that have more events than one window of Spark holds."""

from collections import Counter

import pytest

from reprise.features.executors.batch import BatchExecutor
from reprise.features.executors.spark import SparkExecutor
from support.hard_histories import largest_amount, random_history
from support.histories import event_table
from support.parity import batch_states, state_mismatches
from support.plans import checked_in_plan

PLAN = checked_in_plan()
EVENTS = random_history(3, 400, users=6, products=5, years=2.0)


class SmallWindows(BatchExecutor):
    """Spark's query of final states on DuckDB, with few rows in a window."""

    max_rows: int
    _hot_lasts = SparkExecutor._hot_lasts

    def _max_rows(self, _table: str) -> int:
        return self.max_rows


@pytest.mark.parametrize("max_rows", [0, 15, 1_000])
def test_states_of_hot_entities_are_those_of_one_window(max_rows: int) -> None:
    with BatchExecutor(PLAN) as plain, SmallWindows(PLAN) as in_small_windows:
        in_small_windows.max_rows = max_rows
        for executor in (plain, in_small_windows):
            executor.load_events(event_table(EVENTS))
        for entity in PLAN.entities:
            expected, found = (batch_states(each, entity) for each in (plain, in_small_windows))
            assert state_mismatches(entity, found, expected, largest_amount(EVENTS)) == []
            [(hot,)] = in_small_windows._run(f"SELECT count(*) FROM {entity.name}_lasts")
            numbers = Counter(tuple(getattr(each, key) for key in entity.view.join_keys) for each in EVENTS)
            assert hot == sum(count > max_rows for count in numbers.values())
