"""The checks of an installation, in the order in which one builds on another."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import httpx
from pydantic import SecretStr
from reprise_eventlog import TOPICS, open_producer
from reprise_eventlog.inspection import inspect_topics, reach_log
from reprise_features.plan import Plan
from reprise_routing import document_key

from reprise_doctor import canary, feast_check, log_checks, model_checks, redis_checks, services
from reprise_doctor.check import Check, Say, Seen
from reprise_doctor.redis_checks import RedisUser, materializer_user, predictor_user
from reprise_doctor.services import Predictor, Service
from reprise_doctor.settings import DoctorSettings
from reprise_doctor.store import DoctorStore

_MORE_SECONDS = 30.0  # that the canary may take besides waiting for its features


@dataclass(frozen=True)
class Installation:
    """What the checks look at.

    Attributes:
        settings: Where everything is.
        plan: What the materializers run.
        store: Redis, as the doctor's own user.
        predictor: The predictor.
        producer: The producer, ``None`` where none is named.
    """

    settings: DoctorSettings
    plan: Plan
    store: DoctorStore
    predictor: Predictor
    producer: Service | None

    def send(self) -> canary.Send:
        """Return what sends an event."""
        if self.producer is not None:
            return canary.send_to_producer(self.producer)
        return canary.send_to_log(partial(open_producer, self.settings), self.settings.check_seconds)

    def expected_model(self) -> tuple[str, str]:
        """Return the digest of the model that should answer, and who says so."""
        settings = self.settings
        document = self.store.document(document_key(settings.feast_project))
        return model_checks.expected_model(document, settings.model_store, settings.model_digest)

    def redis_users(self) -> list[RedisUser]:
        """Return the users that are named, and what is expected of each."""
        settings, project = self.settings, self.settings.feast_project
        row = canary.Canary().keys(self.plan, project)[0]
        memory = f"seen:{project}:reprise-doctor".encode()
        named = (
            (materializer_user, settings.materializer_redis_username, settings.materializer_redis_password),
            (predictor_user, settings.predictor_redis_username, settings.predictor_redis_password),
        )
        return [
            make(name, self._connecting_as(name, password), row, memory)
            for make, name, password in named
            if name is not None
        ]

    def _connecting_as(
        self, name: str, password: SecretStr | None
    ) -> Callable[[], AbstractContextManager[DoctorStore]] | None:
        if password is None:
            return None
        own = self.settings.model_copy(update={"redis_username": name, "redis_password": password})
        return partial(DoctorStore.connect, own)


def clients(settings: DoctorSettings) -> tuple[httpx.Client, httpx.Client | None]:
    """Return what asks the predictor and, where one is named, the producer."""
    key = settings.api_key
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    timeout = min(10.0, settings.check_seconds)
    predictor = httpx.Client(base_url=settings.predictor_url, headers=headers, timeout=timeout)
    if settings.producer_url is None:
        return predictor, None
    return predictor, httpx.Client(base_url=settings.producer_url, timeout=timeout)


def checklist(at: Installation) -> list[Check]:
    """Return the checks of an installation."""
    settings, project, seconds = at.settings, at.settings.feast_project, at.settings.check_seconds

    def log(_: Say) -> Seen:
        return log_checks.look_at_log(partial(reach_log, settings))

    def topics(say: Say) -> Seen:
        embedded = settings.kafka_servers is None
        return log_checks.look_at_topics(
            partial(inspect_topics, settings, TOPICS), embedded=embedded, say=say
        )

    def redis(say: Say) -> Seen:
        return redis_checks.look_at_redis(at.store, settings.redis_address, project, say)

    def redis_users(say: Say) -> Seen:
        return redis_checks.look_at_redis_users(at.store, at.redis_users(), project, say)

    def feast(_: Say) -> Seen:
        return feast_check.look_at_registry(settings.feast_registry, project, at.plan)

    def model(say: Say) -> Seen:
        return model_checks.look_at_model(settings.model_store, settings.model_digest, at.plan, say)

    def served(say: Say) -> Seen:
        return model_checks.look_at_served_model(at.predictor, at.expected_model, at.plan, say)

    def follow(say: Say) -> Seen:
        return canary.follow_canary(
            at.send(), at.predictor, at.store, at.plan, project, settings.canary_seconds, say
        )

    ready, taking = services.ADVICE, services.SECTION
    log_help = (log_checks.ADVICE, log_checks.SECTION)
    redis_help = (redis_checks.ADVICE, redis_checks.SECTION)
    model_help = (model_checks.ADVICE, model_checks.SECTION)
    # An event for the log itself would make a topic of the embedded log that is missing.
    way = ("log", "producer") if at.producer is not None else ("log", "topics")
    return [
        Check("log", log, seconds, *log_help),
        Check("topics", topics, seconds, *log_help, needs=("log",)),
        Check("redis", redis, seconds, *redis_help),
        Check("redis-users", redis_users, seconds, *redis_help, needs=("redis",)),
        Check("feast", feast, seconds, feast_check.ADVICE, feast_check.SECTION),
        Check("model", model, seconds, *model_help),
        Check(
            "producer",
            lambda _: services.look_at_producer(at.producer),
            seconds,
            ready,
            taking,
            follows=("log", "topics"),
        ),
        Check("predictor", lambda _: at.predictor.look(), seconds, ready, taking, follows=("redis", "model")),
        Check("served-model", served, seconds, *model_help, needs=("redis", "model", "predictor")),
        Check(
            "canary",
            follow,
            settings.canary_seconds + _MORE_SECONDS,
            canary.ADVICE,
            canary.SECTION,
            needs=(*way, "redis", "predictor"),
            follows=("topics",),
        ),
    ]
