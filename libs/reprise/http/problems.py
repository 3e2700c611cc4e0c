"""Errors as RFC 9457 problem documents (https://www.rfc-editor.org/rfc/rfc9457)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from reprise.http.exceptions import HttpLibraryError

PROBLEM_MEDIA_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:reprise:problem:"
_MAX_VALUE_LENGTH = 100
_MAX_FIELD_ERRORS = 100


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: the last part of its ``type`` URI, its HTTP status, and a few words for every occurrence."""

    slug: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The ``type`` member of the document."""
        return _TYPE_PREFIX + self.slug


INVALID_JSON = ProblemType("invalid-json", 400, "The body is not valid JSON")
BAD_REQUEST = ProblemType("bad-request", 400, "The request cannot be understood")
UNAUTHENTICATED = ProblemType("unauthenticated", 401, "An API key is needed")
FORBIDDEN = ProblemType("forbidden", 403, "This key may not be used for that")
NOT_FOUND = ProblemType("not-found", 404, "There is nothing at this address")
METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "This address does not take this method")
REQUEST_TIMEOUT = ProblemType("request-timeout", 408, "The request did not arrive in time")
BODY_TOO_LARGE = ProblemType("body-too-large", 413, "The body is too large")
UNSUPPORTED_MEDIA_TYPE = ProblemType("unsupported-media-type", 415, "The body is of a type that is not read")
INVALID_REQUEST = ProblemType("invalid-request", 422, "The request breaks the contract")
TOO_MANY_REQUESTS = ProblemType("too-many-requests", 429, "This key asks too often")
HEADERS_TOO_LARGE = ProblemType("headers-too-large", 431, "The headers are too large")
INTERNAL_ERROR = ProblemType("internal-error", 500, "The service failed")
NOT_READY = ProblemType("not-ready", 503, "The service is not ready")

_BY_STATUS = {
    kind.status: kind
    for kind in (
        *(BAD_REQUEST, UNAUTHENTICATED, NOT_FOUND, METHOD_NOT_ALLOWED, REQUEST_TIMEOUT, BODY_TOO_LARGE),
        *(UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST, TOO_MANY_REQUESTS, INTERNAL_ERROR, NOT_READY),
    )
}
_DETAILS = {
    404: "There is nothing at {path}; the addresses are listed at /docs.",
    405: "{path} does not take {method}.",
}


class FieldProblem(BaseModel):
    """One field of the request that breaks the contract."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="Path of the field, its parts joined by dots; empty for the whole body.")
    message: str = Field(description="What was expected.")
    value: Any = Field(default=None, description="What the field held; omitted if it was missing.")

    @classmethod
    def holding(cls, field: str, message: str, value: object) -> Self:
        """Return the problem of a field with what it held, shortened to what JSON can show."""
        return cls(field=field, message=message, value=_shortened(value))


class ProblemDocument(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(description="URI of the kind of problem.", examples=[INVALID_REQUEST.uri])
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status.", ge=100, le=599)
    detail: str = Field(description="What happened this time, and what would help.")
    instance: str | None = Field(default=None, description="URI of this occurrence; the log has it too.")
    errors: list[FieldProblem] | None = Field(
        default=None, description=f"The fields at fault, at most {_MAX_FIELD_ERRORS}."
    )


class ProblemError(HttpLibraryError):
    """An error that becomes a problem document; raise it anywhere below a handler.

    Args:
        kind: The kind of problem, which sets the status.
        detail: What happened this time, and what would help; the client gets it.
        errors: The fields of the request that are at fault.
        headers: More headers of the response, such as ``Retry-After``.
        instance: URI of this occurrence.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        instance: str | None = None,
    ) -> None:
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.instance = instance
        super().__init__(f"{kind.title}: {detail}")

    def document(self) -> dict[str, Any]:
        """Return the members of the problem document."""
        members: dict[str, Any] = {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.instance is not None:
            members["instance"] = self.instance
        if self.errors:
            members["errors"] = [error.model_dump(exclude_unset=True) for error in self.errors]
        return members

    def encode(self) -> bytes:
        """Return the document as JSON."""
        return orjson.dumps(self.document())

    def response(self) -> Response:
        """Return the response with the document."""
        return Response(
            self.encode(), status_code=self.kind.status, media_type=PROBLEM_MEDIA_TYPE, headers=self.headers
        )


def retry_after(seconds: float) -> dict[str, str]:
    """Return the ``Retry-After`` header, in whole seconds and at least one."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def invalid_request(errors: Sequence[FieldProblem]) -> ProblemError:
    """Return the problem that lists these fields at fault, the first hundred of them."""
    shown = errors[:_MAX_FIELD_ERRORS]
    count = "1 field is" if len(errors) == 1 else f"{len(errors)} fields are"
    listed = f"; the first {len(shown)} are listed" if len(shown) < len(errors) else ""
    names = ", ".join(dict.fromkeys(error.field or "body" for error in errors[:5]))
    return ProblemError(INVALID_REQUEST, f"{count} at fault ({names}){listed}", errors=shown)


def validation_problem(details: Sequence[Mapping[str, Any]], skip: int = 0) -> ProblemError:
    """Return the problem that lists the fields which failed pydantic's validation.

    Args:
        details: Result of ``ValidationError.errors()``.
        skip: Number of leading parts of each location that do not belong to the field's path.
    """
    faults = []
    for detail in details:
        if detail["type"] == "json_invalid":
            reason = (detail.get("ctx") or {}).get("error", detail["msg"])
            return ProblemError(INVALID_JSON, f"The body is not valid JSON: {reason}")
        field = ".".join(str(part) for part in detail["loc"][skip:])
        message = str(detail["msg"]).removeprefix("Value error, ")
        if detail["type"] in {"missing", "default_factory_not_called"}:
            faults.append(FieldProblem(field=field, message=message))
        else:
            faults.append(FieldProblem.holding(field, message, detail.get("input")))
    return invalid_request(faults)


def add_problem_handlers(app: FastAPI) -> None:
    """Answer FastAPI's and Starlette's own errors by problem documents; the base middleware answers the others."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return error.response()

    async def failed_validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # The first part of FastAPI's locations is body, query, path or header.
        return validation_problem(error.errors(), skip=1).response()

    async def http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = error.status_code
        title = HTTPStatus(status).phrase if status in set(HTTPStatus) else f"HTTP {status}"
        detail = str(error.detail)
        if detail == title and status in _DETAILS:
            detail = _DETAILS[status].format(path=request.url.path, method=request.method)
        kind = _BY_STATUS.get(status) or ProblemType(f"http-{status}", status, title)
        return ProblemError(kind, detail, headers=error.headers).response()

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(RequestValidationError, failed_validation)
    app.add_exception_handler(HTTPException, http_exception)


def _shortened(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= _MAX_VALUE_LENGTH:
        return value if isinstance(value, int) and abs(value) < 2**53 else text
    return text[: _MAX_VALUE_LENGTH - 1] + "…"
