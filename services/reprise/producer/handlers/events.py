"""The handler of ``POST /events``."""

from collections.abc import Sequence
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from reprise.events.event import EVENT_TYPE_PATTERN, MAX_AMOUNT, MAX_ID_LENGTH
from reprise.http.middleware.authentication import CALLER, charge
from reprise.http.openapi import problem_responses
from reprise.http.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    INVALID_JSON,
    INVALID_REQUEST,
    UNSUPPORTED_MEDIA_TYPE,
    FieldProblem,
    ProblemError,
    ProblemType,
    retry_after,
)
from reprise.producer.services.ingest import EventIngest, EventResult

TOO_MANY_EVENTS = ProblemType("too-many-events", 413, "The request holds too many events")
OVERLOADED = ProblemType("overloaded", 429, "More events wait than can be held")
LOG_UNAVAILABLE = ProblemType("log-unavailable", 503, "The event log does not take events")

_EVENT_EXAMPLE: dict[str, Any] = {
    "event_id": "e-20260131-000001",
    "user_id": "u000123",
    "product_id": "p00042",
    "event_type": "purchase",
    "amount": 12.5,
    "timestamp": "2026-01-31T12:00:00Z",
}

_EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Event",
    "description": "A user's action on a product. Other fields are dropped, unless the producer is set to keep them as"
    " metadata.",
    "required": ["event_id", "user_id", "product_id", "event_type", "timestamp"],
    "properties": {
        "event_id": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ID_LENGTH,
            "description": "Id of the event; an event with the same id counts once.",
        },
        "user_id": {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH},
        "product_id": {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH},
        "event_type": {
            "type": "string",
            "pattern": f"^{EVENT_TYPE_PATTERN}$",
            "description": "view, purchase, or another lower-case name.",
        },
        "amount": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": MAX_AMOUNT,
            "description": "Amount paid, in the shop's currency; null or absent for a view.",
        },
        "timestamp": {
            "type": "string",
            "format": "date-time",
            "description": "Time of the event, RFC 3339 with an offset, within the maximum age and the clock skew.",
        },
        "metadata": {
            "type": ["object", "null"],
            "description": "Other fields, of the names that the producer is set to keep; others are dropped.",
        },
        "schema_version": {"type": "integer", "default": 1},
    },
    "examples": [_EVENT_EXAMPLE],
}

_REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"oneOf": [_EVENT_SCHEMA, {"type": "array", "minItems": 1, "items": _EVENT_SCHEMA}]},
            "examples": {
                "one": {"summary": "One event", "value": _EVENT_EXAMPLE},
                "several": {
                    "summary": "Several events",
                    "value": [
                        _EVENT_EXAMPLE,
                        {
                            "event_id": "e-20260131-000002",
                            "user_id": "u000123",
                            "product_id": "p00007",
                            "event_type": "view",
                            "timestamp": "2026-01-31T12:00:05Z",
                        },
                    ],
                },
            },
        }
    },
}

_CONTENT_ENCODING = {
    "name": "Content-Encoding",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "enum": ["gzip", "identity"]},
    "description": "The body may be gzip; the limit of its size holds for the inflated one.",
}
_RETRY_SECONDS = 1.0
_MAX_ERRORS = 100

_DESCRIPTION = """
Takes one event or a list of events. Each is validated on its own; an invalid one does not affect the others.

* `202`: the log has acknowledged all of them.
* `207`: the log has acknowledged some; `results` has the outcome of each.
* `422`, `429`, `503`: none was acknowledged, because all are invalid, the buffer is full, or the log is unavailable.

Events that were not acknowledged can be sent again unchanged: an `event_id` counts once.
"""


class EventAnswer(BaseModel):
    """The outcome of one event."""

    index: int = Field(description="Index of the event in the request, from 0.")
    event_id: str | None = Field(description="The event's id, if it has one.")
    status: Literal["accepted", "rejected", "overloaded", "unavailable"] = Field(
        description="accepted: in the log. rejected: invalid. overloaded, unavailable: send it again."
    )
    partition: int | None = Field(default=None, description="Its partition in the log.")
    offset: int | None = Field(default=None, description="Its offset in the partition.")
    field: str | None = Field(default=None, description="The invalid field.")
    reason: str | None = Field(default=None, description="Why it was not accepted.")


class EventsAnswer(BaseModel):
    """The outcomes of a request's events."""

    accepted: int = Field(description="Events that the log has acknowledged.")
    failed: int = Field(description="Events that were not accepted.")
    results: list[EventAnswer] = Field(description="One entry per event, in the order of the request.")


def events_router(ingest: EventIngest, max_events: int) -> APIRouter:
    """Return ``POST /events``."""
    router = APIRouter(tags=["events"])

    @router.post(
        "/events",
        status_code=202,
        summary="Take events",
        description=_DESCRIPTION,
        openapi_extra={"parameters": [_CONTENT_ENCODING], "requestBody": _REQUEST_BODY},
        responses={
            202: {"model": EventsAnswer, "description": "All events are in the log"},
            207: {"model": EventsAnswer, "description": "Some events are in the log"},
            **problem_responses(
                BAD_REQUEST,
                INVALID_JSON,
                BODY_TOO_LARGE,
                TOO_MANY_EVENTS,
                UNSUPPORTED_MEDIA_TYPE,
                INVALID_REQUEST,
                OVERLOADED,
                LOG_UNAVAILABLE,
            ),
        },
    )
    async def post_events(request: Request) -> Response:
        _check_content_type(request)
        items = _items(await request.body(), max_events)
        charge(request.scope, len(items))
        return _response(await ingest.accept(items, request.scope.get(CALLER)))

    return router


def _check_content_type(request: Request) -> None:
    given = request.headers.get("content-type")
    if given is not None and given.partition(";")[0].strip().lower() != "application/json":
        raise ProblemError(
            UNSUPPORTED_MEDIA_TYPE, f"Send Content-Type: application/json; {given!r} is not read."
        )


def _items(body: bytes, max_events: int) -> list[Any]:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(INVALID_JSON, f"The body is not valid JSON: {error}") from None
    if isinstance(decoded, dict):
        return [decoded]
    if not isinstance(decoded, list) or not decoded:
        problem = FieldProblem(field="", message="expected an event, or a list of at least one event")
        raise ProblemError(INVALID_REQUEST, "The body holds no event.", errors=[problem])
    if len(decoded) > max_events:
        raise ProblemError(
            TOO_MANY_EVENTS, f"{len(decoded):,} events; send at most {max_events:,} in one request."
        )
    return decoded


def _response(results: Sequence[EventResult]) -> Response:
    accepted = sum(result.outcome == "accepted" for result in results)
    if accepted == 0:
        raise _none_accepted(results)
    body = {
        "accepted": accepted,
        "failed": len(results) - accepted,
        "results": [_entry(index, result) for index, result in enumerate(results)],
    }
    retry = any(result.outcome in {"overloaded", "unavailable"} for result in results)
    return Response(
        orjson.dumps(body),
        status_code=202 if accepted == len(results) else 207,
        media_type="application/json",
        headers=retry_after(_RETRY_SECONDS) if retry else None,
    )


def _entry(index: int, result: EventResult) -> dict[str, Any]:
    entry: dict[str, Any] = {"index": index, "event_id": result.event_id, "status": result.outcome}
    if result.position is not None:
        entry["partition"], entry["offset"] = result.position
    if result.field is not None:
        entry["field"] = result.field
    if result.reason is not None:
        entry["reason"] = result.reason
    return entry


def _none_accepted(results: Sequence[EventResult]) -> ProblemError:
    rejected = [(index, result) for index, result in enumerate(results) if result.outcome == "rejected"]
    if len(rejected) == len(results):
        errors = [
            FieldProblem(field=f"{index}.{result.field}", message=str(result.reason))
            for index, result in rejected[:_MAX_ERRORS]
        ]
        count = "The event breaks" if len(results) == 1 else f"All {len(results):,} events break"
        return ProblemError(INVALID_REQUEST, f"{count} the contract.", errors=errors)
    kind = LOG_UNAVAILABLE if any(r.outcome == "unavailable" for r in results) else OVERLOADED
    reason = next(result.reason for result in results if result.outcome != "rejected")
    return ProblemError(
        kind, f"No event was accepted: {reason}. Send them again later.", headers=retry_after(_RETRY_SECONDS)
    )
