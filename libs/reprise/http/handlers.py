"""FastAPI's own errors as problem documents."""

from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from reprise.http.problems import ProblemError, kind_of_status, validation_problem

_SENTENCES = {
    404: "There is nothing at {path}; the addresses are listed at /docs.",
    405: "{path} does not take {method}.",
}


def answer_errors_with_problems(app: FastAPI) -> None:
    """Register the handlers; what they do not know is for the edge to answer."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return error.response()


async def _invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The first part of FastAPI's locations is body, query, path or header.
    return validation_problem(error.errors(), skip=1).response()


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = _phrase(error.status_code)
    detail = str(error.detail)
    if detail == title and error.status_code in _SENTENCES:
        detail = _SENTENCES[error.status_code].format(path=request.url.path, method=request.method)
    problem = ProblemError(kind_of_status(error.status_code, title), detail, headers=error.headers)
    return problem.response()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP {status}"
