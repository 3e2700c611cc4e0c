"""Browsing sessions: their views, and which of them convert."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reprise.shop.columns import Columns, Floats, Indices
from reprise.shop.population import Population

_VIEW_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class SessionViews(Columns):
    """Views of browsing sessions."""

    user: Indices  # index of the user
    product: Indices  # index of the product, no product twice in a session
    activity_time: Floats  # when the session began, on the user's clock
    delay_us: Indices  # microseconds from the beginning of the session to the view
    converted: npt.NDArray[np.bool_]  # whether a user who never bought the product buys it


def draw_views(
    population: Population, draw: np.random.Generator, begins: Floats, ends: Floats
) -> SessionViews:
    """Return all views of the sessions of every user between two times of the user's clock."""
    user = _arrivals(draw, population.users.sessions * (ends - begins))
    count = len(user)
    activity_time = begins[user] + draw.random(count) * (ends - begins)[user]
    category = population.categories(user, draw.random(count))
    views = 1 + draw.poisson(population.users.further_views[user])
    session = np.repeat(np.arange(count), views)
    position = np.arange(len(session)) - np.repeat(np.cumsum(views) - views, views)
    product = population.viewed(category[session], draw.random(len(session)))
    chosen = np.unique(session * population.config.products + product, return_index=True)[1]
    session, position, product = session[chosen], position[chosen], product[chosen]
    user, activity_time = user[session], activity_time[session]
    seconds = (position + draw.random(len(chosen))) * _VIEW_SECONDS
    return SessionViews(
        user=user,
        product=product,
        activity_time=activity_time,
        delay_us=(seconds * 1e6).astype(np.int64),
        converted=draw.random(len(chosen)) < population.conversion(user, product),
    )


def draw_converted_views(
    population: Population, draw: np.random.Generator, begins: Floats, ends: Floats
) -> SessionViews:
    """Return the converted views alone, which is all that the warm-up needs, drawn directly.

    A product may occur twice in a session.
    """
    users = population.users
    top = float(population.products.conversion.max())
    views = users.sessions * (1.0 + users.further_views) * np.minimum(users.conversion * top, 1.0)
    user = _arrivals(draw, views * (ends - begins))
    activity_time = begins[user] + draw.random(len(user)) * (ends - begins)[user]
    category = population.categories(user, draw.random(len(user)))
    product = population.viewed(category, draw.random(len(user)))
    thinned = np.minimum(users.conversion[user] * top, 1.0)
    kept = np.flatnonzero(draw.random(len(user)) * thinned < population.conversion(user, product))
    return SessionViews(
        user=user[kept],
        product=product[kept],
        activity_time=activity_time[kept],
        delay_us=np.zeros(len(kept), dtype=np.int64),
        converted=np.ones(len(kept), dtype=np.bool_),
    )


def _arrivals(draw: np.random.Generator, expected: Floats) -> Indices:
    return np.repeat(np.arange(len(expected)), draw.poisson(expected))
