"""Schemathesis: what OpenAPI promises holds for whatever is sent. REPRISE_SOAK=1 for the full dose."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from reprise.predictor.app import create_app
from reprise.predictor.context import build_context
from reprise.predictor.settings import PredictorSettings
from support.collection import SOAK
from support.fake_reader import FakeReader
from support.predictor import published
from support.redis import free_port
from support.served_bundles import bundle_files
from support.waiting import wait_until

OPERATIONS = [
    ("/predict", "POST"),
    ("/predict/batch", "POST"),
    ("/features/{user_id}", "GET"),
    ("/rank", "POST"),
    ("/users/{user_id}/buy-again", "GET"),
    ("/model/info", "GET"),
    ("/health", "GET"),
    ("/health", "HEAD"),
    ("/ready", "GET"),
    ("/ready", "HEAD"),
    ("/routing", "GET"),
    ("/metrics", "GET"),
]
DOSE = settings(
    max_examples=1500 if SOAK else 20,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


class Running:
    """A predictor behind a real HTTP server, as Schemathesis sees it."""

    def __init__(self, url: str) -> None:
        self.session = requests.Session()
        self.url = url
        document = requests.get(f"{url}/openapi.json", timeout=10).json()
        for operations in document["paths"].values():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == "horizon":
                        parameter["schema"] = {
                            "type": "string",
                            "enum": ["30d"],
                        }  # The model's, which OpenAPI cannot know
        self.schema = schemathesis.openapi.from_dict(document)

    def check(self, case: schemathesis.Case) -> None:
        response: requests.Response = case.call(base_url=self.url, session=self.session)
        case.validate_response(response, excluded_checks=list(not_in_the_schema(case, response)))


def not_in_the_schema(case: schemathesis.Case, response: requests.Response) -> Iterator[Any]:
    """What OpenAPI cannot say of a request: these are answered otherwise than their schema lets expect."""
    if response.status_code == 422:
        fields = {error["field"] for error in response.json()["errors"]}
        if fields <= {"timestamp", "amount", "event_id", "explain", "limit"}:
            # An instant far from now, the amount of a view, and the id of an event without a type, the contributions
            # of this model, which has no trees, and those of many products.
            yield positive_data_acceptance
    if case.path == "/predict/batch" and response.status_code == 200:
        # Requests that break the contract have problems of their own among the answers.
        yield negative_data_rejection


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    store = tmp_path_factory.mktemp("models")
    published(store, bundle_files(weights={"request_amount": 0.1, "total_spend": 0.01}))
    configured = PredictorSettings.load(model_store=str(store), access_log="off", model_reload_seconds=3600)
    port = free_port()
    app = create_app(build_context(configured, FakeReader()))
    # without a log_config, or uvicorn would set up its loggers for every test after this one
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until("the server has started", lambda: server.started, 120, every=0.01)
        yield Running(f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join()


def test_every_operation_is_tested(api: Running) -> None:
    found = [result.ok() for result in api.schema.get_all_operations()]
    assert sorted((operation.path, operation.method.upper()) for operation in found) == sorted(OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        *((operation, GenerationMode.POSITIVE) for operation in OPERATIONS),
        *((operation, GenerationMode.NEGATIVE) for operation in OPERATIONS[:5]),
    ],
    ids=lambda part: part.value if isinstance(part, GenerationMode) else f"{part[1]} {part[0]}",
)
def test_every_operation_answers_as_documented_and_refuses_what_breaks_the_contract(
    api: Running, operation: tuple[str, str], mode: GenerationMode
) -> None:
    path, method = operation

    @DOSE
    @given(case=api.schema[path][method].as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        api.check(case)

    check()


def test_features_follow_from_predictions(api: Running) -> None:
    followed: set[tuple[str, int]] = set()

    class Links(api.schema.as_state_machine()):  # type: ignore[misc]
        def call(self, case: schemathesis.Case, **_: Any) -> Any:
            return case.call(base_url=api.url, session=api.session)

        def validate_response(self, response: Any, case: schemathesis.Case, **_: Any) -> None:
            followed.add((case.path, response.status_code))
            case.validate_response(response, excluded_checks=list(not_in_the_schema(case, response)))

    Links.run(settings=settings(DOSE, max_examples=300 if SOAK else 10, stateful_step_count=6))
    assert {("/predict", 200), ("/features/{user_id}", 200)} <= followed
