"""Views, and states of them, for tests of the online store."""

from hypothesis import strategies as st

from reprise.store.feast.codec import ViewCodec
from reprise.store.feast.view import StateField, StateView

PROJECT = "reprise"

FIELDS = (
    StateField("purchases", "int64"),
    StateField("spend", "double"),
    StateField("last_purchase", "int64"),
    StateField("decayed_views", "double"),
)
USER = StateView("user_state", ("user_id",), FIELDS)
PRODUCT = StateView("product_state", ("product_id",), FIELDS)
PAIR = StateView("pair_state", ("user_id", "product_id"), FIELDS)

USER_CODEC = ViewCodec(PROJECT, USER)
PRODUCT_CODEC = ViewCodec(PROJECT, PRODUCT)
PAIR_CODEC = ViewCodec(PROJECT, PAIR)

STATE = [3, 59.97, 1_763_900_000_123_456, 0.25]
EMPTY: list[float | int | None] = [None] * len(FIELDS)


def states() -> st.SearchStrategy[list[float | int | None]]:
    """Every state that a row of these views can hold."""
    integer = st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 5000)
    double = st.none() | st.floats(allow_nan=False, allow_infinity=False)
    return st.tuples(*(double if field.kind == "double" else integer for field in FIELDS)).map(list)
