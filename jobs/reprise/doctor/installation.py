"""The components of an installation, and the checks of them in the order in which one builds on another."""

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import httpx
from pydantic import SecretStr

from reprise.doctor.check import (
    Check,
    CheckResult,
    Observation,
    ReportProgress,
    progress,
    run_checks,
    select_checks,
)
from reprise.doctor.checks.canary import STALE_FEATURES, Canary, check_canary, send_to_log, send_to_producer
from reprise.doctor.checks.event_log import LOG, check_log, check_topics
from reprise.doctor.checks.feast_registry import REGISTRY, check_registry
from reprise.doctor.checks.model import MODEL, check_model, check_served_model, expected_model
from reprise.doctor.checks.redis import UNREACHABLE as REDIS
from reprise.doctor.checks.redis import (
    Connect,
    RedisUser,
    check_redis,
    check_redis_users,
    materializer_user,
    predictor_user,
)
from reprise.doctor.checks.services import UNREACHABLE as SERVICE
from reprise.doctor.checks.services import Predictor, Service, check_producer
from reprise.doctor.redis_probe import RedisProbe
from reprise.doctor.settings import DoctorSettings
from reprise.features.plan import Plan
from reprise.log import TOPICS, open_producer
from reprise.log.backend import describe_log, inspect_topics
from reprise.routing import DocumentKeys, RoutingDocument
from reprise.routing.store import RoutingStore

_RESPONSE_SECONDS = 10.0
_CANARY_MARGIN_SECONDS = 30.0  # of the canary's timeout, besides waiting for its features


@dataclass(frozen=True)
class Installation:
    """The components that are checked; ``store`` is Redis as the doctor's own user, ``producer`` may be absent."""

    settings: DoctorSettings
    plan: Plan
    store: RedisProbe
    predictor: Predictor
    producer: Service | None

    def checks(self) -> list[Check]:
        """Return all checks, in order."""
        settings, plan, project = self.settings, self.plan, self.settings.feast_project
        # Writing an event straight to an embedded log would create its topic if that is missing.
        entrance = ("log", "producer") if self.producer is not None else ("log", "topics")
        embedded = settings.kafka_servers is None

        model = partial(
            check_model, settings.model_store, settings.model_digest, plan, open_store=settings.open_models
        )
        check = partial(Check, seconds=settings.check_seconds)
        return [
            check("log", lambda _: check_log(partial(describe_log, settings)), LOG),
            check(
                "topics",
                lambda report: check_topics(
                    partial(inspect_topics, settings, TOPICS), embedded=embedded, report=report
                ),
                LOG,
                needs=("log",),
            ),
            check("redis", partial(check_redis, self.store, settings.redis_address, project), REDIS),
            check(
                "redis-users",
                lambda report: check_redis_users(self.store, self._redis_users(), project, report),
                REDIS,
                needs=("redis",),
            ),
            check("feast", lambda _: check_registry(settings.feast_registry, project, plan), REGISTRY),
            check("model", model, MODEL),
            check("producer", lambda _: check_producer(self.producer), SERVICE, follows=("log", "topics")),
            check("predictor", lambda _: self.predictor.check_ready(), SERVICE, follows=("redis", "model")),
            check(
                "served-model",
                partial(check_served_model, self.predictor, self._expected_model, plan),
                MODEL,
                needs=("redis", "model", "predictor"),
            ),
            check(
                "canary",
                self._follow_canary,
                STALE_FEATURES,
                seconds=settings.canary_seconds + _CANARY_MARGIN_SECONDS,
                needs=(*entrance, "redis", "predictor"),
                follows=("topics",),
            ),
        ]

    def _follow_canary(self, report: ReportProgress) -> Observation:
        settings = self.settings
        send = partial(send_to_log, partial(open_producer, settings), settings.check_seconds)
        if self.producer is not None:
            send = partial(send_to_producer, self.producer)
        project, seconds = settings.feast_project, settings.canary_seconds
        return check_canary(send, self.predictor, self.store, self.plan, project, seconds, report)

    def _expected_model(self) -> tuple[str, str]:
        def read_document() -> RoutingDocument | None:
            keys = DocumentKeys.read(trusted=self.settings.routing_trusted_keys_file)
            with RoutingStore(self.settings, keys) as store:
                return store.document()

        return expected_model(read_document, self.settings.model_store, self.settings.model_digest)

    def _redis_users(self) -> list[RedisUser]:
        settings, project = self.settings, self.settings.feast_project
        row = Canary().keys(self.plan, project)[0]
        claim = f"seen:{project}:reprise-doctor".encode()

        def connect_as(name: str, password: SecretStr | None) -> Connect | None:
            own = settings.model_copy(update={"redis_username": name, "redis_password": password})
            return None if password is None else partial(RedisProbe.connect, own)

        configured = (
            (materializer_user, settings.materializer_redis_username, settings.materializer_redis_password),
            (predictor_user, settings.predictor_redis_username, settings.predictor_redis_password),
        )
        return [
            make_user(name, connect_as(name, password), row, claim)
            for make_user, name, password in configured
            if name is not None
        ]


def http_clients(settings: DoctorSettings) -> tuple[httpx.Client, httpx.Client | None]:
    """Return the clients of the predictor and, if one is configured, of the producer."""
    timeout = min(_RESPONSE_SECONDS, settings.check_seconds)

    def client(url: str, key: SecretStr | None) -> httpx.Client:
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        return httpx.Client(base_url=url, headers=headers, timeout=timeout)

    predictor = client(settings.predictor_url, settings.api_key)
    if settings.producer_url is None:
        return predictor, None
    return predictor, client(settings.producer_url, settings.producer_api_key)


def examine(settings: DoctorSettings, only: Collection[str], skip: Collection[str]) -> list[CheckResult]:
    """Run the checks named by ``only`` (all if empty) without those named by ``skip``.

    Raises:
        UnknownCheckError: No check has such a name.
        PlanError: The plan cannot be read.
        StoreRefusedError: The CA file for Redis is not a PEM file.
    """
    plan = Plan.load(settings.plan)
    with ExitStack() as stack:
        store = stack.enter_context(RedisProbe.connect(settings))
        to_predictor, to_producer = http_clients(settings)
        predictor = Predictor(stack.enter_context(to_predictor))
        producer = None if to_producer is None else Service("the producer", stack.enter_context(to_producer))
        checks = select_checks(Installation(settings, plan, store, predictor, producer).checks(), only, skip)
        return list(run_checks(checks, stack.enter_context(progress()), settings.settle_seconds))
