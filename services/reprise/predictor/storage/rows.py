"""Which rows of the online store a model needs."""

from collections.abc import Sequence

from reprise.predictor.handlers.request_decoder import Asked
from reprise.predictor.models.loaded_model import ServedModel
from reprise.store.feast.codec import ViewCodec
from reprise.store.reader import Ids


def rows_of(model: ServedModel, asked: Asked) -> list[tuple[ViewCodec, bytes]]:
    """Return the codecs and keys of a request's user, product and pair."""
    user, product, pair = model.user.codec, model.product.codec, model.pair.codec
    user_id, product_id = asked.user_id, asked.product_id
    return [
        (user, user.key(user_id)),
        (product, product.key(product_id)),
        (pair, pair.key(user_id, product_id)),
    ]


def blocks_of(model: ServedModel, asked: Sequence[Asked]) -> list[tuple[ViewCodec, Ids]]:
    """Return the codecs of users, products and pairs, each with the ids of all requests."""
    users, products = [each.user_id for each in asked], [each.product_id for each in asked]
    return [
        (model.user.codec, (users,)),
        (model.product.codec, (products,)),
        (model.pair.codec, (users, products)),
    ]
