"""What the checks look at: the parts of an installation, each behind what looks at it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import httpx
from pydantic import SecretStr

from reprise.doctor.canary import Canary, Send, follow_canary, send_to_log, send_to_producer
from reprise.doctor.check import Say, Seen
from reprise.doctor.feast_check import look_at_registry
from reprise.doctor.log_checks import look_at_log, look_at_topics
from reprise.doctor.model_checks import expected_model, look_at_model, look_at_served_model
from reprise.doctor.redis_checks import (
    RedisUser,
    look_at_redis,
    look_at_redis_users,
    materializer_user,
    predictor_user,
)
from reprise.doctor.services import Predictor, Service, look_at_producer
from reprise.doctor.settings import DoctorSettings
from reprise.doctor.store import DoctorStore
from reprise.features.plan import Plan
from reprise.log import TOPICS, open_producer
from reprise.log.backend import describe_log, inspect_topics
from reprise.routing import document_key

_ANSWER_SECONDS = 10.0


def clients(settings: DoctorSettings) -> tuple[httpx.Client, httpx.Client | None]:
    """Return what asks the predictor and, where one is named, the producer."""
    key = settings.api_key
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    timeout = min(_ANSWER_SECONDS, settings.check_seconds)
    predictor = httpx.Client(base_url=settings.predictor_url, headers=headers, timeout=timeout)
    if settings.producer_url is None:
        return predictor, None
    return predictor, httpx.Client(base_url=settings.producer_url, timeout=timeout)


@dataclass(frozen=True)
class Installation:
    """The parts, and a look at each.

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

    def log(self, _: Say) -> Seen:
        """See whether the log answers."""
        return look_at_log(partial(describe_log, self.settings))

    def topics(self, say: Say) -> Seen:
        """Compare the topics with their declaration."""
        embedded = self.settings.kafka_servers is None
        return look_at_topics(partial(inspect_topics, self.settings, TOPICS), embedded=embedded, say=say)

    def redis(self, say: Say) -> Seen:
        """See whether Redis answers and takes writes."""
        return look_at_redis(self.store, self.settings.redis_address, self.settings.feast_project, say)

    def redis_users(self, say: Say) -> Seen:
        """See who may write to Redis."""
        return look_at_redis_users(self.store, self._users(), self.settings.feast_project, say)

    def feast(self, _: Say) -> Seen:
        """Compare Feast's registry with the plan."""
        return look_at_registry(self.settings.feast_registry, self.settings.feast_project, self.plan)

    def model(self, say: Say) -> Seen:
        """Verify the model, and that it fits the plan."""
        return look_at_model(self.settings.model_store, self.settings.model_digest, self.plan, say)

    def taking(self, _: Say) -> Seen:
        """See whether the producer takes events."""
        return look_at_producer(self.producer)

    def answering(self, _: Say) -> Seen:
        """See whether the predictor is ready."""
        return self.predictor.look()

    def served_model(self, say: Say) -> Seen:
        """See whether the predictor answers with the model that it should."""
        return look_at_served_model(self.predictor, self._expected_model, self.plan, say)

    def canary(self, say: Say) -> Seen:
        """Follow an event to a prediction."""
        project, seconds = self.settings.feast_project, self.settings.canary_seconds
        return follow_canary(self._send(), self.predictor, self.store, self.plan, project, seconds, say)

    def _send(self) -> Send:
        if self.producer is not None:
            return send_to_producer(self.producer)
        return send_to_log(partial(open_producer, self.settings), self.settings.check_seconds)

    def _expected_model(self) -> tuple[str, str]:
        document = self.store.document(document_key(self.settings.feast_project))
        return expected_model(document, self.settings.model_store, self.settings.model_digest)

    def _users(self) -> list[RedisUser]:
        settings, project = self.settings, self.settings.feast_project
        row = Canary().keys(self.plan, project)[0]
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
