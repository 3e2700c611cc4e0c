"""A shop's users, who ask for predictions all the while, and buy as a test says."""

from __future__ import annotations

import itertools
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from e2e.support.customers import new_event
from e2e.support.rollout_models import HIGH
from e2e.support.steady_load import SteadyLoad
from support.served_bundles import HUGE

_SEND_SECONDS = 0.25
_NEWCOMERS = 5_003
_GOODS = 997


@dataclass(frozen=True)
class Asked:
    """What a user was predicted.

    Attributes:
        turn: The number of the request.
        high: Whether its amount is high.
        purchase: Whether it is about a purchase.
        noise: From 0 to 9, the same for every run.
        likely: What the answer predicts.
    """

    turn: int
    high: bool
    purchase: bool
    noise: int
    likely: bool


Behaviour = Callable[[Asked], tuple[bool, bool]]
"""Whether a user buys what it was predicted of, and whether it buys something else."""


def follows_the_amount(asked: Asked) -> tuple[bool, bool]:
    """Users buy after nine in ten high amounts and one in ten others, and whoever is predicted not to, and does not,
    gets an offer instead, and takes it."""
    buys = asked.high == (asked.noise < 9)
    return buys, not buys and not asked.likely


@dataclass
class FollowsBothAlike:
    """Users buy as amount and event type say where the two agree; where they do not, every second does."""

    _turns: Any = field(default_factory=itertools.count)

    def __call__(self, asked: Asked) -> tuple[bool, bool]:
        if asked.high == asked.purchase:
            return asked.high == (asked.noise < 9), False
        return next(self._turns) % 2 == 0, False


@dataclass
class ShopTraffic(SteadyLoad):
    """Requests at a steady rate, and the events that follow; every request that fails counts.

    Attributes:
        behaviour: What users do. Without one they are those of ``pairs`` and only ask. With one they are others, so
            that there are enough of them, and each answer decides what is bought.
        arms: How many answers came of each arm.
        arms_of: The models, by arm, that ever answered a user.
        bought: How many events were sent.
    """

    behaviour: Behaviour | None = None
    arms: Counter[str] = field(default_factory=Counter)
    bought: int = 0

    def __enter__(self) -> Self:
        self._basket: list[dict[str, Any]] = []
        super().__enter__()
        sender = threading.Thread(target=self._send)
        self._running.append(sender)
        sender.start()
        return self

    def body(self, turn: int) -> dict[str, Any]:
        """What is asked at a turn; one amount in three is the largest that is taken."""
        bits = zlib.crc32(str(turn).encode())
        amount = (bits >> 8) % 6_000 / 100
        user, product = self.pairs[turn % len(self.pairs)]
        if self.behaviour is not None:
            user, product = f"newcomer-{turn % _NEWCOMERS}", f"good-{turn % _GOODS}"
            amount = HIGH if bits & 1 else 0.0
        if turn % 3 == 0 and amount:
            amount = HUGE
        # A view has no amount, so what is no purchase is a cart. Without the id, what the user buys next would be taken
        # for the purchase that the request is about.
        event_type = "purchase" if bits & 2 else "cart"
        asked = {"user_id": user, "product_id": product, "amount": amount, "event_type": event_type}
        return {**asked, "event_id": f"asked-{turn}"}

    def heed(self, turn: int, body: dict[str, Any], answer: dict[str, Any]) -> None:
        with self._lock:
            self.arms[answer["arm"]] += 1
        if self.behaviour is None or not body["user_id"].startswith("newcomer"):
            return
        noise = zlib.crc32(f"noise {turn}".encode()) % 10
        asked = Asked(turn, body["amount"] > 0, body["event_type"] == "purchase", noise, answer["prediction"])
        this, other = self.behaviour(asked)
        bought = [product for product, buys in ((body["product_id"], this), ("offer", other)) if buys]
        with self._lock:
            self._basket += [new_event(body["user_id"], product, 5.0) for product in bought]

    def _send(self) -> None:
        while not self._stop.wait(_SEND_SECONDS):
            with self._lock:
                basket, self._basket = self._basket, []
            if not basket:
                continue
            try:
                answer = self.client.post("/events", json=basket)
            except httpx.HTTPError as error:
                self._count(f"events: {type(error).__name__}", repr(error))
                continue
            if answer.status_code == 202:
                self.bought += len(basket)
            else:
                self._count(f"events: {answer.status_code}", answer.text[:300])
