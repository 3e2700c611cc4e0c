import subprocess
import sys
from pathlib import Path
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
from support.predictor import published, running_predictor
from support.served_bundles import bundle_files

FORBIDDEN = {
    "pandas", "sklearn", "feast", "featuretools", "pyarrow", "duckdb", "scipy", "onnx", "joblib", "cloudpickle",
    "matplotlib", "woodwork",
}  # fmt: skip
"""What the predictor's image does not have. ``pickle`` itself comes with numpy; nothing here unpickles."""


def test_predictor_imports_nothing_that_its_image_lacks() -> None:
    program = (
        "import sys, reprise.predictor.app, reprise.predictor.main, reprise.predictor.context\n"
        "import reprise.http.server\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "onnxruntime" in output.split()
    assert FORBIDDEN & set(output.split()) == set()


def test_command_is_described_without_loading_the_service() -> None:
    program = "import sys, reprise.predictor.main\nprint('fastapi' in sys.modules, 'numpy' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.split() == ["False", "False"]


def test_openapi_documents_every_answer(tmp_path: Path) -> None:
    published(tmp_path, bundle_files())
    with running_predictor(tmp_path) as predictor:
        document = predictor.client.get("/openapi.json").json()
    paths = document["paths"]
    expected = {
        ("/predict", "post"): {"200", "400", "413", "415", "422", "500", "503"},
        ("/predict/batch", "post"): {"200", "400", "413", "415", "422", "500", "503"},
        ("/features/{user_id}", "get"): {"200", "422", "500", "503"},
        ("/model/info", "get"): {"200", "500", "503"},
        ("/health", "get"): {"200", "500"},
        ("/ready", "get"): {"200", "500", "503"},
        ("/metrics", "get"): {"200", "500"},
        ("/routing", "get"): {"200", "500"},
    }
    found = {
        (path, method): set(operation["responses"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert found == expected
    for path, method in expected:
        for status, response in paths[path][method]["responses"].items():
            if int(status) >= 400:
                (media_type,) = response["content"]
                assert media_type == "application/problem+json"


def test_openapi_references_resolve_and_show_examples(tmp_path: Path) -> None:
    published(tmp_path, bundle_files())
    with running_predictor(tmp_path) as predictor:
        document = predictor.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    text = str(document)
    for reference in {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in schemas
    request = schemas["PredictionRequest"]
    assert request["additionalProperties"] is False
    assert request["properties"]["timestamp"]["anyOf"][0]["format"] == "date-time"
    assert request["properties"]["user_id"]["examples"]
    assert schemas["BatchRequest"]["properties"]["requests"]["maxItems"] == 1000
    parameters = document["paths"]["/predict"]["post"]["parameters"]
    assert [parameter["name"] for parameter in parameters] == ["explain"]


def from_field_examples(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: field["examples"][0] for name, field in schema["properties"].items()}


@pytest.mark.parametrize("struct", [PredictionRequest, PredictionResponse])
def test_examples_of_every_field_are_valid(struct: type[Struct]) -> None:
    schema = component_schemas(struct)[struct.__name__]
    schema["properties"].pop("event_type", None)  # its choices are settings
    msgspec.convert(from_field_examples(schema), struct, dec_hook=decode_timestamp)


def test_examples_of_models_are_valid() -> None:
    FeaturesResponse.model_validate(from_field_examples(FeaturesResponse.model_json_schema()))
    (example,) = ModelInfo.model_json_schema()["examples"]
    ModelInfo.model_validate(example)


def test_everything_that_is_sent_or_answered_has_an_example(tmp_path: Path) -> None:
    published(tmp_path, bundle_files())
    with running_predictor(tmp_path) as predictor:
        document = predictor.client.get("/openapi.json").json()
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


def test_documentation_is_served(tmp_path: Path) -> None:
    with running_predictor(tmp_path) as predictor:
        assert "swagger" in predictor.client.get("/docs").text.lower()


def test_settings_name_the_variables_that_users_know() -> None:
    names = set(PredictorSettings.env_names().values())
    assert {"API_HOST", "API_PORT", "REDIS_HOST", "REDIS_PORT", "MODEL_STORE", "MODEL_DIGEST"} <= names
    assert {"MODEL_RELOAD_SECONDS", "PREDICTOR_MAX_BATCH", "PREDICTOR_MAX_BODY_BYTES"} <= names
    assert all(field.description for field in PredictorSettings.model_fields.values())


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


def test_missing_model_store_is_named() -> None:
    with pytest.raises(InvalidSettingsError, match="MODEL_STORE: Field required"):
        PredictorSettings.load()
