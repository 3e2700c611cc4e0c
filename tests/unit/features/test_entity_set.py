import pandas as pd

from reprise.features.discovery.entity_set import entity_set, pair_ids


def test_ids_with_separators_make_distinct_pairs() -> None:
    events = pd.DataFrame(
        {
            "event_key": [1, 2, 3, 4],
            "user_id": ["a\x1fb", "a", "1:a", "1"],
            "product_id": ["c", "b\x1fc", "b", ":ab"],
            "event_type": "view",
            "amount": None,
            "timestamp": pd.Timestamp("2026-01-01"),
        }
    )
    assert pair_ids(events).is_unique
    assert len(entity_set(events, {"view": "views"})["user_products"]) == 4
