"""Request, response and problem types of ``POST /events``."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from reprise.events.event import EVENT_TYPE_PATTERN, MAX_ID_LENGTH
from reprise.http.problems import ProblemType

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

EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Event",
    "description": "A user's action on a product. Unknown fields are moved to metadata.",
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
            "description": "Amount paid, in the shop's currency; null or absent for a view.",
        },
        "timestamp": {
            "type": "string",
            "format": "date-time",
            "description": "Time of the event, RFC 3339 with an offset.",
        },
        "metadata": {"type": ["object", "null"]},
        "schema_version": {"type": "integer", "default": 1},
    },
    "examples": [_EVENT_EXAMPLE],
}

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"oneOf": [EVENT_SCHEMA, {"type": "array", "minItems": 1, "items": EVENT_SCHEMA}]},
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
