"""Events as a Featuretools EntitySet: users, products, their pairs, and a dataframe per event type."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from reprise.features.discovery.featuretools_compat import ft

TARGETS = {"user": "users", "product": "products", "pair": "user_products"}
"""Featuretools' dataframe of each entity."""
PAIR_ID = "user_product_id"


def entity_set(events: pd.DataFrame, frames: Mapping[str, str]) -> ft.EntitySet:
    """Return the EntitySet of these events; an entity exists from its first event on.

    Args:
        events: Columns ``user_id``, ``product_id``, ``event_type``, ``timestamp`` (datetime64[ns], UTC without a
            zone), ``amount`` and ``event_key``; unique by ``event_key``.
        frames: Event dataframe by event type.
    """
    typed = events[events["event_type"].isin(list(frames))].copy()
    typed[PAIR_ID] = pair_ids(typed)
    es = ft.EntitySet("shop")
    keys = (["user_id"], ["product_id"], [PAIR_ID, "user_id", "product_id"])
    for name, columns in zip(TARGETS.values(), keys, strict=True):
        first = typed.groupby(columns, sort=False)["timestamp"].min()
        es.add_dataframe(
            dataframe_name=name,
            dataframe=first.rename("first_seen").reset_index(),
            index=columns[0],
            time_index="first_seen",
            logical_types=dict.fromkeys(columns, "Unknown"),
        )
    es.add_relationship("users", "user_id", "user_products", "user_id")
    es.add_relationship("products", "product_id", "user_products", "product_id")
    for event_type, frame in frames.items():
        amount = {} if event_type == "view" else {"amount": "Double"}
        es.add_dataframe(
            dataframe_name=frame,
            dataframe=typed.loc[
                typed["event_type"] == event_type, ["event_key", PAIR_ID, "timestamp", *amount]
            ],
            index="event_key",
            time_index="timestamp",
            logical_types={"timestamp": "Datetime", PAIR_ID: "Unknown", **amount},
        )
        es.add_relationship("user_products", PAIR_ID, frame, PAIR_ID)
    return es


def pair_ids(events: pd.DataFrame) -> "pd.Series[Any]":
    """Return the id of each event's pair: both ids after the length of the first, as ids may have any separator."""
    return events["user_id"].str.len().astype(str) + ":" + events["user_id"] + events["product_id"]
