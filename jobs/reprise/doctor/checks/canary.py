"""One event of a user that no shop has, followed through to a prediction.

The event is sent as a shop sends its own, awaited in the features, and answered with a prediction. Its rows in Redis
are removed afterwards, by a Redis user that may remove only such rows. The event and the prediction stay in the log
and the archive; jobs that read the archive leave canaries out.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx
import orjson

from reprise.doctor.check import CheckFailedError, Observation, Remedy, ReportProgress
from reprise.doctor.checks.event_log import LOG
from reprise.doctor.checks.services import Predictor, Service, describe_response
from reprise.doctor.redis_probe import RedisProbe
from reprise.events import CANARY_PREFIX, Event, encode_event
from reprise.features.plan import Plan
from reprise.log import EVENTS, EventLogError, LogProducer
from reprise.store.exceptions import StoreError
from reprise.store.feast.codec import ViewCodec

STALE_FEATURES = Remedy(
    "see whether materializers run and what they log (/ready, the lag), and whether producer, materializer and "
    "predictor use the same log, project and Redis",
    "features-are-stale",
)
_VIEW = "view"
_POLL_SECONDS = 0.02
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Canary:
    """Ids of a user, a product and an event that are used once."""

    user_id: str = field(default_factory=lambda: f"{CANARY_PREFIX}user-{uuid.uuid4().hex}")
    product_id: str = field(default_factory=lambda: f"{CANARY_PREFIX}product-{uuid.uuid4().hex}")
    event_id: str = field(default_factory=lambda: f"{CANARY_PREFIX}event-{uuid.uuid4().hex}")

    def event(self, plan: Plan, timestamp_us: int) -> Event:
        """Return the event: a view if the plan has features of views, so that it adds no revenue."""
        event_type = _VIEW if _VIEW in plan.frames else next(iter(plan.frames))
        return Event(self.event_id, self.user_id, self.product_id, event_type, timestamp_us)

    def keys(self, plan: Plan, project: str) -> list[bytes]:
        """Return the Redis keys of its rows."""
        ids = {"user_id": self.user_id, "product_id": self.product_id}
        views = [entity.view for entity in plan.entities]
        return [ViewCodec(project, view).key(*(ids[key] for key in view.join_keys)) for view in views]


def send_to_producer(producer: Service, event: Event) -> None:
    """Send an event as a shop does, over HTTP."""
    response = producer.request("POST", "/events", orjson.loads(encode_event(event)))
    if response.status_code != httpx.codes.ACCEPTED:
        raise CheckFailedError(f"the producer rejected the event: {describe_response(response)}", LOG)


def send_to_log(open_log: Callable[[], LogProducer], seconds: float, event: Event) -> None:
    """Append an event to the log itself, and return once the log has it."""
    try:
        log = open_log()
        try:
            log.append(EVENTS.name, event.user_id.encode(), encode_event(event)).result(seconds)
        finally:
            log.close(seconds)
    except (EventLogError, TimeoutError) as error:
        reason = str(error) or f"not acknowledged within {seconds:g} s"
        raise CheckFailedError(f"the log rejected the event: {reason}", LOG) from error


def check_canary(
    send: Callable[[Event], None],
    predictor: Predictor,
    store: RedisProbe,
    plan: Plan,
    project: str,
    seconds: float,
    report: ReportProgress,
) -> Observation:
    """Send a canary's event, wait up to ``seconds`` for its features, request a prediction, and remove its rows."""
    canary = Canary()
    report(f"sending an event of {canary.user_id}")
    started = time.monotonic()
    send(canary.event(plan, time.time_ns() // 1_000))
    try:
        _wait_until_readable(predictor, canary, started + seconds, report)
        freshness = time.monotonic() - started
        probability = _predict(predictor, canary)
    except CheckFailedError as failure:
        removed = _remove(store, canary.keys(plan, project))
        raise CheckFailedError(
            f"{failure.found}; rows of {canary.user_id} may appear later, once its event is folded (now: {removed})",
            failure.remedy,
        ) from failure
    removed = _remove(store, canary.keys(plan, project))
    return Observation(
        f"event → readable feature in {freshness * 1e3:,.0f} ms, predicted {probability:.3f}; "
        f"canary {canary.user_id}: {removed}, the event stays in the log",
        {"freshness_seconds": freshness, "probability": probability},
    )


def _wait_until_readable(
    predictor: Predictor, canary: Canary, deadline: float, report: ReportProgress
) -> None:
    path, reported = f"/features/{canary.user_id}?product_id={canary.product_id}", time.monotonic()
    while True:
        response = predictor.request("GET", path)
        if response.is_success:
            known = response.json()["known"]
            # The pair is written last.
            if known.get("user") and known.get("pair"):
                return
            last = "the user and the pair are not known yet"
        else:
            last = describe_response(response)
        now = time.monotonic()
        if now > deadline:
            raise CheckFailedError(
                f"the log has the event, but GET /features does not: {last}", STALE_FEATURES
            )
        if now - reported > _PROGRESS_SECONDS:
            reported = now
            report(f"waiting for the features of {canary.user_id}, {deadline - now:.0f} s more")
        time.sleep(_POLL_SECONDS)


def _predict(predictor: Predictor, canary: Canary) -> float:
    ids = {"user_id": canary.user_id, "product_id": canary.product_id}
    answer = predictor.request_json("POST", "/predict", ids)
    if answer["known"]["user"] is not True:
        raise CheckFailedError(f"/predict does not know the user: {answer['known']}", STALE_FEATURES)
    return float(answer["probability"])


def _remove(store: RedisProbe, keys: Sequence[bytes]) -> str:
    try:
        return f"{store.remove(keys)} rows removed from Redis"
    except StoreError as error:
        return f"its {len(keys)} rows stay in Redis ({error.reason})"
