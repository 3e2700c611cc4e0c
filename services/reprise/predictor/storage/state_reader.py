"""Reads the online state that a prediction needs."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from reprise.predictor.models.api import PredictionRequest
from reprise.predictor.models.loaded_model import LoadedModel
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import Ids, OnlineRow, RowBlock


class StateReader(Protocol):
    """The part of ``reprise.store.reader.OnlineReader`` that is used; its errors are documented there."""

    async def __aenter__(self) -> Self:
        """Start to connect."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        ...

    async def ping(self) -> None:
        """Return once the store responds."""
        ...

    async def read(
        self, rows: Sequence[tuple[ViewCodec, bytes]], deadline: float | None = None
    ) -> list[OnlineRow]:
        """Return the rows of these keys, in order, in one round trip, within ``deadline`` seconds."""
        ...

    async def read_blocks(
        self, blocks: Sequence[tuple[ViewCodec, Ids]], deadline: float | None = None
    ) -> list[RowBlock]:
        """Return the rows of several views, in one round trip, within ``deadline`` seconds."""
        ...


def row_keys(model: LoadedModel, user_id: str, product_id: str) -> list[tuple[ViewCodec, bytes]]:
    """Return the codecs and keys of the rows of a user, a product and their pair."""
    user, product, pair = model.user.codec, model.product.codec, model.pair.codec
    return [
        (user, user.key(user_id)),
        (product, product.key(product_id)),
        (pair, pair.key(user_id, product_id)),
    ]


def block_ids(model: LoadedModel, requests: Sequence[PredictionRequest]) -> list[tuple[ViewCodec, Ids]]:
    """Return the codecs of users, products and pairs, each with the ids in all requests."""
    users, products = [each.user_id for each in requests], [each.product_id for each in requests]
    return [
        (model.user.codec, (users,)),
        (model.product.codec, (products,)),
        (model.pair.codec, (users, products)),
    ]
