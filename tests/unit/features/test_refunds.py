"""Returned purchases: the SQL finds those that a walk over each pair's events finds, and labels leave them out."""

import random
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from reprise.events import Event
from reprise.features.labels import Outcome, refunded_purchases
from reprise.features.training_rows import build_training_rows
from support.histories import event_table
from support.served_bundles import small_plan

DAY_US = 86_400_000_000
START = 1_760_000_000_000_000


def event(kind: str, day: float, *, product: str = "p", number: int = 0) -> Event:
    at_us = START + round(day * DAY_US)
    return Event(f"{kind} {day} {product} {number}", "u", product, kind, at_us)


def found(events: Iterable[Event], days: float, purchase_type: str = "purchase") -> set[str]:
    given = event_table(list(events))
    with duckdb.connect() as connection:
        connection.register("given", given)
        source = "(SELECT *, epoch_us(timestamp) AS ts FROM given)"
        query = refunded_purchases(source, Outcome(purchase_type, round(days * DAY_US)))
        return {event_id for (event_id,) in connection.execute(query).fetchall()}


def walked(events: Iterable[Event], days: float) -> set[str]:
    """The definition, event by event: a return takes the pair's newest purchase that has none yet."""
    open_purchases: dict[tuple[str, str], list[Event]] = {}
    refunded = set()
    order = sorted(events, key=lambda e: (e.timestamp_us, e.event_type != "purchase", e.event_id))
    for each in order:
        pair = open_purchases.setdefault((each.user_id, each.product_id), [])
        if each.event_type == "purchase":
            pair.append(each)
        elif each.event_type in {"return", "refund"} and pair:
            bought = pair.pop()
            if each.timestamp_us - bought.timestamp_us <= days * DAY_US:
                refunded.add(bought.event_id)
    return refunded


@pytest.mark.parametrize(
    ("history", "refunded"),
    [
        ("", ""),
        ("p1 r2", "p1"),
        ("r1 p2", ""),
        ("p1 p2 r3", "p2"),
        ("p1 p2 r3 r4", "p1 p2"),
        ("p1 r2 r3 p4", "p1"),
        ("r0 r1 p2 p3 r4", "p3"),
        ("p1 r11", "p1"),
        ("p1 r12", ""),
        ("p1 p2 r12 r13", "p2"),
        ("p1 p8 r12 r13", "p8"),
        ("p1 r1", "p1"),
        ("p1 v2 c2 f3", "p1"),
    ],
)
def test_a_return_is_of_the_newest_purchase_before_it_that_has_none(history: str, refunded: str) -> None:
    kinds = {"p": "purchase", "r": "return", "f": "refund", "v": "view", "c": "cart"}
    events = [event(kinds[word[0]], int(word[1:])) for word in history.split()]
    names = {
        f"{word[0]}{word[1:]}": each.event_id for word, each in zip(history.split(), events, strict=True)
    }
    assert found(events, 10) == {names[word] for word in refunded.split()} == walked(events, 10)


def test_random_histories_are_matched_as_event_by_event() -> None:
    rng = random.Random(17)
    for round_ in range(40):
        events = [
            event(
                rng.choice(("purchase", "purchase", "return", "refund", "view")),
                rng.randrange(30),
                product=rng.choice("pq"),
                number=number,
            )
            for number in range(rng.randrange(40))
        ]
        days = rng.choice((0, 1, 5, 30))
        assert found(events, days) == walked(events, days), round_


def test_label_leaves_out_a_returned_purchase_and_waits_for_the_window(tmp_path: Path) -> None:
    plan, horizon = small_plan(), timedelta(days=10)
    kinds = (("view", 0), ("purchase", 5), ("return", 7), ("view", 12), ("view", 15))
    events = [event(kind, day) for kind, day in kinds]
    events += [event("view", 0, product="kept"), event("purchase", 5, product="kept")]
    source, out = tmp_path / "events.parquet", tmp_path / "rows.parquet"
    pq.write_table(event_table(events), source)

    def labels(days: int) -> list[bool | None]:
        build_training_rows(source, out, plan, horizon, refund_window=timedelta(days=days))
        rows = {row["event_id"]: row for row in pq.read_table(out).to_pylist()}
        assert rows[events[3].event_id]["repeat_candidate"]
        return [rows[each.event_id]["label"] for each in (events[0], events[5], events[3])]

    assert labels(0) == labels(1) == [True, True, None]
    assert labels(2) == labels(5) == [False, True, None]
    assert labels(6) == [None, None, None]
