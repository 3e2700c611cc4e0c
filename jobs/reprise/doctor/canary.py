"""One event of a user that no shop has, seen through to a prediction.

The event is sent as a shop sends its own, awaited in the features, and answered with a prediction. Its rows in
Redis are removed afterwards, by a user who may remove such rows only. The event itself stays in the log and in the
archive, whose readers leave canaries out; so does the prediction.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
import orjson

from reprise.doctor.check import Say, Seen
from reprise.doctor.exceptions import CheckFailedError
from reprise.doctor.log_checks import ADVICE as LOG_ADVICE
from reprise.doctor.log_checks import SECTION as LOG_SECTION
from reprise.doctor.services import Predictor, Service, said
from reprise.events import CANARY_PREFIX, Event, encode_event
from reprise.features.plan import Plan
from reprise.log import EVENTS, EventLogError, LogProducer
from reprise.store.exceptions import StoreError
from reprise.store.feast.codec import ViewCodec

SECTION = "features-are-stale"
ADVICE = (
    "see whether materializers run and what they log (/ready, the lag), and whether producer, materializer and "
    "predictor use the same log, project and Redis"
)
_VIEW = "view"
_LOOK_SECONDS = 0.02
_SAY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Canary:
    """A user and a product that are used once.

    Attributes:
        user_id: The user.
        product_id: The product.
        event_id: The one event's id.
    """

    user_id: str = field(default_factory=lambda: _unique("user"))
    product_id: str = field(default_factory=lambda: _unique("product"))
    event_id: str = field(default_factory=lambda: _unique("event"))

    def event(self, plan: Plan, timestamp_us: int) -> Event:
        """Return the event: a view where the plan makes features of views, so that no revenue is made up."""
        event_type = _VIEW if _VIEW in plan.frames else next(iter(plan.frames))
        return Event(self.event_id, self.user_id, self.product_id, event_type, timestamp_us)

    def keys(self, plan: Plan, project: str) -> list[bytes]:
        """Return the keys of its rows."""
        ids = {"user_id": self.user_id, "product_id": self.product_id}
        views = [entity.view for entity in plan.entities]
        return [ViewCodec(project, view).key(*(ids[key] for key in view.join_keys)) for view in views]


Send = Callable[[Event], None]
"""Sends an event, and returns once the log has it; raises ``CheckFailedError``."""


class Removing(Protocol):
    """What the canary asks of the online store."""

    def remove(self, keys: Sequence[bytes]) -> int:
        """Remove keys, and return how many there were."""
        ...


def send_to_producer(producer: Service) -> Send:
    """Return what sends an event as a shop does, over HTTP."""

    def send(event: Event) -> None:
        answer = producer.ask("POST", "/events", _fields(event))
        if answer.status_code != httpx.codes.ACCEPTED:
            raise CheckFailedError(
                f"the producer did not take the event: {said(answer)}", LOG_ADVICE, LOG_SECTION
            )

    return send


def send_to_log(open_log: Callable[[], LogProducer], seconds: float) -> Send:
    """Return what appends an event to the log itself."""

    def send(event: Event) -> None:
        try:
            log = open_log()
            try:
                log.append(EVENTS.name, event.user_id.encode(), encode_event(event)).result(seconds)
            finally:
                log.close(seconds)
        except (EventLogError, TimeoutError) as error:
            reason = str(error) or f"not acknowledged within {seconds:g} s"
            raise CheckFailedError(
                f"the log did not take the event: {reason}", LOG_ADVICE, LOG_SECTION
            ) from error

    return send


def follow_canary(
    send: Send, predictor: Predictor, store: Removing, plan: Plan, project: str, seconds: float, say: Say
) -> Seen:
    """Send a canary's event, wait until it can be read, ask for a prediction, and remove its rows.

    Args:
        send: Sends the event.
        predictor: Has the features and the prediction.
        store: Removes the rows.
        plan: What the materializers fold.
        project: The Feast project.
        seconds: Longest wait for the features.
        say: Told what is waited for.

    Raises:
        CheckFailedError: A step failed; says what is left behind.
    """
    canary = Canary()
    say(f"sending an event of {canary.user_id}")
    started = time.monotonic()
    send(canary.event(plan, time.time_ns() // 1_000))
    try:
        _wait_until_readable(predictor, canary, started + seconds, say)
        freshness = time.monotonic() - started
        probability = _predicted(predictor, canary)
    except CheckFailedError as failure:
        left = _remove(store, canary.keys(plan, project))
        seen = f"{failure.seen}; the rows of {canary.user_id} may come later, once its event is folded (now: {left})"
        raise CheckFailedError(seen, failure.advice, failure.section) from failure
    left = _remove(store, canary.keys(plan, project))
    return Seen(
        f"event → readable feature in {freshness * 1e3:,.0f} ms, predicted {probability:.3f}; "
        f"canary {canary.user_id}: {left}, the event stays in the log",
        {"freshness_seconds": freshness, "probability": probability},
    )


def _wait_until_readable(predictor: Predictor, canary: Canary, give_up: float, say: Say) -> None:
    path, spoke, last = f"/features/{canary.user_id}?product_id={canary.product_id}", time.monotonic(), ""
    while True:
        answer = predictor.ask("GET", path)
        if answer.is_success:
            known: Mapping[str, bool] = answer.json()["known"]
            # The pair is written last.
            if known.get("user") and known.get("pair"):
                return
            last = "it is not known there yet"
        else:
            last = said(answer)
        now = time.monotonic()
        if now > give_up:
            break
        if now - spoke > _SAY_SECONDS:
            spoke = now
            say(f"waiting for the features of {canary.user_id}, {give_up - now:.0f} s more")
        time.sleep(_LOOK_SECONDS)
    raise CheckFailedError(f"the log has the event, but GET /features does not: {last}", ADVICE, SECTION)


def _predicted(predictor: Predictor, canary: Canary) -> float:
    ids = {"user_id": canary.user_id, "product_id": canary.product_id}
    answer = predictor.expect("POST", "/predict", ids)
    if answer["known"]["user"] is not True:
        raise CheckFailedError(f"/predict does not know the user: {answer['known']}", ADVICE, SECTION)
    return float(answer["probability"])


def _remove(store: Removing, keys: Sequence[bytes]) -> str:
    try:
        removed = store.remove(keys)
    except StoreError as error:
        return f"its {len(keys)} rows stay in Redis ({error.reason})"
    return f"{removed} rows removed from Redis"


def _fields(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(encode_event(event))
    return fields


def _unique(what: str) -> str:
    return f"{CANARY_PREFIX}{what}-{uuid.uuid4().hex}"
