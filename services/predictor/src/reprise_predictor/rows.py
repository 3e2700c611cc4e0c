"""Which rows of the online store a model needs."""

from collections.abc import Sequence

from reprise_online.codec import ViewCodec

from reprise_predictor.requests import Asked
from reprise_predictor.served import ServedModel


def rows_of(model: ServedModel, asked: Asked) -> list[tuple[ViewCodec, bytes]]:
    """Return the codecs and keys of a request's user, product and pair."""
    user, product, pair = model.user.codec, model.product.codec, model.pair.codec
    user_id, product_id = asked.user_id, asked.product_id
    return [
        (user, user.key(user_id)),
        (product, product.key(product_id)),
        (pair, pair.key(user_id, product_id)),
    ]


def keys_of(model: ServedModel, asked: Sequence[Asked]) -> list[tuple[ViewCodec, Sequence[bytes]]]:
    """Return the codecs of users, products and pairs, each with the keys of all requests."""
    user, product, pair = model.user.codec, model.product.codec, model.pair.codec
    users, products = [each.user_id for each in asked], [each.product_id for each in asked]
    return [
        (user, user.keys(users)),
        (product, product.keys(products)),
        (pair, pair.keys(users, products)),
    ]
