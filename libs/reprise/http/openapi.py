"""Problem documents in OpenAPI."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from reprise.http.middleware.authentication import is_protected
from reprise.http.problems import (
    INVALID_REQUEST,
    PROBLEM_MEDIA_TYPE,
    TOO_MANY_REQUESTS,
    UNAUTHENTICATED,
    ProblemDocument,
    ProblemType,
)

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
REFERENCE = "#/components/schemas/{model}"
"""Template of a reference to a schema among the components."""


def problem_responses(*kinds: ProblemType) -> dict[int | str, dict[str, Any]]:
    """Return what FastAPI's ``responses`` needs to document these kinds of problem, with an example each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = responses.setdefault(
            kind.status,
            {
                "description": "",
                "content": {
                    PROBLEM_MEDIA_TYPE: {
                        "schema": {"$ref": REFERENCE.format(model=ProblemDocument.__name__)},
                        "examples": {},
                    }
                },
            },
        )
        response["description"] = ". ".join(filter(None, [response["description"], kind.title]))
        response["content"][PROBLEM_MEDIA_TYPE]["examples"][kind.slug] = {
            "value": {"type": kind.uri, "title": kind.title, "status": kind.status, "detail": "…"}
        }
    return responses


def component_schemas(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model and of those it consists of, by name."""
    schema = model.model_json_schema(ref_template=REFERENCE)
    return {**schema.pop("$defs", {}), model.__name__: schema}


def document_problems(app: FastAPI, *everywhere: ProblemType, protected: bool = False) -> None:
    """Put the problem document into the application's OpenAPI, and these kinds into every operation.

    Args:
        app: The application.
        everywhere: Kinds of problem that any operation may answer with.
        protected: Whether API keys are asked for.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(app, everywhere, protected)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _with_problems(app: FastAPI, everywhere: tuple[ProblemType, ...], protected: bool) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=app.servers,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(component_schemas(ProblemDocument))
    schemas.update(app.state.schemas)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if protected:
        document["components"]["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        at_gate = protected and is_protected(path)
        kinds = (*everywhere, UNAUTHENTICATED, TOO_MANY_REQUESTS) if at_gate else everywhere
        shared = {str(status): response for status, response in problem_responses(*kinds).items()}
        for operation in operations.values():
            if at_gate:
                operation["security"] = [{name: []} for name in _SCHEMES]
            responses = operation["responses"]
            for status, response in shared.items():
                responses.setdefault(status, response)
            # FastAPI documents its own 422 on every operation that takes something.
            if "application/json" in responses.get("422", {}).get("content", {}):
                responses["422"] = problem_responses(INVALID_REQUEST)[422]
            operation["responses"] = dict(sorted(responses.items()))
    return document
