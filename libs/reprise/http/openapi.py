"""Problem documents in OpenAPI."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from reprise.http.problems import (
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL_ERROR,
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
REFERENCE = "#/components/schemas/{name}"
"""Template of a reference to a schema among the components."""


def problem_responses(*kinds: ProblemType) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's ``responses`` for these kinds of problem, with an example each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        response = responses.setdefault(
            kind.status,
            {
                "description": "",
                "content": {
                    PROBLEM_MEDIA_TYPE: {
                        "schema": {"$ref": REFERENCE.format(name=ProblemDocument.__name__)},
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


def json_content(name: str) -> dict[str, Any]:
    """Return OpenAPI's ``content`` of a JSON body whose schema is a component."""
    return {"application/json": {"schema": {"$ref": REFERENCE.format(name=name)}}}


def model_schemas(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schemas of a pydantic model and of its parts, by name."""
    schema = model.model_json_schema(ref_template=REFERENCE.format(name="{model}"))
    return {**schema.pop("$defs", {}), model.__name__: schema}


def document_problems(app: FastAPI, is_protected: Callable[[str], bool] | None = None) -> None:
    """Add the problem document, and the problems of every operation, to the application's OpenAPI.

    ``is_protected`` returns whether a path requires an API key; it is absent without authentication.
    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(plain(), app.state.schemas, is_protected)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _with_problems(
    document: dict[str, Any], more_schemas: dict[str, Any], is_protected: Callable[[str], bool] | None
) -> dict[str, Any]:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(model_schemas(ProblemDocument))
    schemas.update(more_schemas)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if is_protected is not None:
        document["components"]["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        protected = is_protected is not None and is_protected(path)
        of_keys = [UNAUTHENTICATED, FORBIDDEN, TOO_MANY_REQUESTS] if protected else []
        kinds = [BAD_REQUEST, INTERNAL_ERROR, *of_keys]
        for operation in operations.values():
            if protected:
                operation["security"] = [{name: []} for name in _SCHEMES]
            responses = operation["responses"]
            for status, response in problem_responses(*kinds).items():
                responses.setdefault(str(status), response)
            # FastAPI documents its own 422 on every operation with parameters.
            if "application/json" in responses.get("422", {}).get("content", {}):
                responses["422"] = problem_responses(INVALID_REQUEST)[422]
            operation["responses"] = dict(sorted(responses.items()))
    return document
