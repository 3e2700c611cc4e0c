import subprocess
import sys
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from reprise.predictor.models.api import (
    FeaturesResponse,
    ModelInfo,
    PredictionRequest,
    PredictionResponse,
    component_schemas,
    decode_timestamp,
)
from reprise.predictor.settings import PredictorSettings
from reprise.runtime.exceptions import InvalidSettingsError
from support.predictor import running_predictor

FORBIDDEN = {
    "pandas", "sklearn", "feast", "featuretools", "pyarrow", "duckdb", "scipy", "onnx", "joblib", "cloudpickle",
    "matplotlib", "woodwork",
}  # fmt: skip
"""What the predictor's image does not have. ``pickle`` itself comes with numpy; nothing here unpickles."""


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with running_predictor(tmp_path_factory.mktemp("models")) as predictor:
        assert "swagger" in predictor.client.get("/docs").text.lower()
        openapi: dict[str, Any] = predictor.client.get("/openapi.json").json()
        return openapi


def test_command_loads_the_service_late_and_nothing_that_its_image_lacks() -> None:
    program = (
        "import sys, reprise.predictor.main\n"
        "print(*sys.modules)\n"
        "import reprise.predictor.app, reprise.predictor.context, reprise.http.server\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    described, loaded = (
        {name.partition(".")[0] for name in line.split()} for line in done.stdout.splitlines()
    )
    assert {"fastapi", "numpy"} & described == set()
    assert "onnxruntime" in loaded
    assert FORBIDDEN & loaded == set()


def from_field_examples(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: field["examples"][0] for name, field in schema["properties"].items()}


@pytest.mark.parametrize("struct", [PredictionRequest, PredictionResponse])
def test_examples_of_every_field_are_valid(struct: type[Struct]) -> None:
    schema = component_schemas(struct)[struct.__name__]
    if "event_type" in schema["properties"]:  # its choices are settings
        schema["properties"]["event_type"] = {"examples": ["purchase"]}
    msgspec.convert(from_field_examples(schema), struct, dec_hook=decode_timestamp)


def test_examples_of_models_are_valid() -> None:
    FeaturesResponse.model_validate(from_field_examples(FeaturesResponse.model_json_schema()))
    (example,) = ModelInfo.model_json_schema()["examples"]
    ModelInfo.model_validate(example)


def test_everything_that_is_sent_or_answered_has_an_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def has_example(content: dict[str, Any]) -> bool:
        return bool(content.get("example") or content.get("examples") or shows_example(content["schema"]))

    def shows_example(schema: dict[str, Any]) -> bool:
        if "examples" in schema:
            return True
        if "$ref" in schema:
            return shows_example(schemas[schema["$ref"].rpartition("/")[2]])
        if "items" in schema:
            return shows_example(schema["items"])
        if "anyOf" in schema:
            return shows_example(schema["anyOf"][0])
        fields = schema.get("properties", {}).values()
        return bool(fields) and all(map(shows_example, fields))

    for path, operations in document["paths"].items():
        for operation in operations.values():
            where = f"{path} {operation['summary']}"
            for parameter in operation.get("parameters", []):
                assert parameter.get("example") or parameter["schema"].get("examples"), where
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            for holder in [*bodies, *operation["responses"].values()]:
                for content in holder.get("content", {}).values():
                    assert has_example(content), where


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_DIGEST", "newest"),
        ("PREDICTOR_EVENT_TYPES", "view,Purchase"),
        ("PREDICTOR_EVENT_TYPES", "view,,cart"),
        ("PREDICTOR_MAX_BATCH", "0"),
        ("PREDICTOR_MAX_SKEW_SECONDS", "-1"),
        ("PREDICTOR_MAXBATCH", "5"),
        ("PREDICTOR_RATE_LIMIT", "5"),
        ("PREDICTOR_METRICS_PORT", "70000"),
        ("PREDICTOR_ACCESS_LOG", "all"),
    ],
)
def test_wrong_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettingsError, match=name):
        PredictorSettings.load(model_store="models")
