"""Browsing sessions: who looks at what, and what of it is bought at first sight."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.shop.population import Population

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_VIEW_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class BrowsedViews:
    """Views of browsing sessions; arrays of equal length.

    Attributes:
        user: Index of the user.
        product: Index of the product, no product twice in a session.
        reading: When the session began, on the user's clock.
        delay_us: Microseconds from the session's beginning to the view.
        convinced: Whether it is bought, by who never bought it.
    """

    user: Indices
    product: Indices
    reading: Floats
    delay_us: Indices
    convinced: npt.NDArray[np.bool_]


def browse(population: Population, draw: np.random.Generator, begins: Floats, ends: Floats) -> BrowsedViews:
    """Return all views of the sessions of every user between two readings of the user's clock."""
    user = _arrivals(draw, population.users.sessions * (ends - begins))
    count = len(user)
    reading = begins[user] + draw.random(count) * (ends - begins)[user]
    category = population.categories(user, draw.random(count))
    views = 1 + draw.poisson(population.users.further_views[user])
    session = np.repeat(np.arange(count), views)
    position = np.arange(len(session)) - np.repeat(np.cumsum(views) - views, views)
    product = population.viewed(category[session], draw.random(len(session)))
    chosen = np.unique(session * population.config.products + product, return_index=True)[1]
    session, position, product = session[chosen], position[chosen], product[chosen]
    user, reading = user[session], reading[session]
    seconds = (position + draw.random(len(chosen))) * _VIEW_SECONDS
    return BrowsedViews(
        user=user,
        product=product,
        reading=reading,
        delay_us=(seconds * 1e6).astype(np.int64),
        convinced=draw.random(len(chosen)) < population.conversion(user, product),
    )


def browse_purchases(
    population: Population, draw: np.random.Generator, begins: Floats, ends: Floats
) -> BrowsedViews:
    """Return the convinced views alone, made directly: the shop's past needs no others.

    That a session has no product twice is not held here.
    """
    top = float(population.products.conversion.max())
    users = population.users
    views = users.sessions * (1.0 + users.further_views) * np.minimum(users.conversion * top, 1.0)
    user = _arrivals(draw, views * (ends - begins))
    reading = begins[user] + draw.random(len(user)) * (ends - begins)[user]
    category = population.categories(user, draw.random(len(user)))
    product = population.viewed(category, draw.random(len(user)))
    thinned = np.minimum(users.conversion[user] * top, 1.0)
    kept = np.flatnonzero(draw.random(len(user)) * thinned < population.conversion(user, product))
    return BrowsedViews(
        user=user[kept],
        product=product[kept],
        reading=reading[kept],
        delay_us=np.zeros(len(kept), dtype=np.int64),
        convinced=np.ones(len(kept), dtype=np.bool_),
    )


def _arrivals(draw: np.random.Generator, expected: Floats) -> Indices:
    return np.repeat(np.arange(len(expected)), draw.poisson(expected))
