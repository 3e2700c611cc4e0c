"""The states of all entities in memory: the fold without a store, for checks and small data."""

from reprise.events import Event
from reprise.features.finish import StateRow
from reprise.features.fold import Fold
from reprise.features.plan import Plan


class EntityStates:
    """States by entity; those never seen are empty."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.users: dict[str, StateRow] = {}
        self.products: dict[str, StateRow] = {}
        self.pairs: dict[tuple[str, str], StateRow] = {}

    def user(self, user_id: str) -> StateRow:
        """Return the state of a user."""
        return self.users.get(user_id, self._plan.user.empty)

    def product(self, product_id: str) -> StateRow:
        """Return the state of a product."""
        return self.products.get(product_id, self._plan.product.empty)

    def pair(self, user_id: str, product_id: str) -> StateRow:
        """Return the state of a user–product pair."""
        return self.pairs.get((user_id, product_id), self._plan.pair.empty)

    def fold(self, fold: Fold, event: Event) -> None:
        """Fold one event into the states of its user, product and pair; other event types change nothing."""
        frame_event = fold.frame_event(event)
        if frame_event is None:
            return
        change, pair = fold.apply(frame_event, self.pair(event.user_id, event.product_id))
        self.users[event.user_id] = fold.user.merge(self.user(event.user_id), change.user)
        self.products[event.product_id] = fold.product.merge(self.product(event.product_id), change.product)
        self.pairs[event.user_id, event.product_id] = pair
