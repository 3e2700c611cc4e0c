"""From a body to what is asked, with pydantic's verdict wherever anything is out of the ordinary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta, Struct
from pydantic import ValidationError
from pydantic_core import from_json

from reprise.events import InvalidEventError, parse_timestamp
from reprise.http.problems import ProblemError, validation_problem
from reprise.predictor.models.api import VIEW, PredictionRequest, batch_model, request_model

_NUL = b"\\u0000"


class Asked(Protocol):
    """What a request asks: a ``PredictionRequest``, or what was decoded in its place."""

    @property
    def user_id(self) -> str:
        """Of the user."""

    @property
    def product_id(self) -> str:
        """Of the product."""

    @property
    def event_type(self) -> str | None:
        """What the user is doing."""

    @property
    def amount(self) -> float | None:
        """What is about to be paid, in the shop's currency."""

    @property
    def timestamp(self) -> int | None:
        """When, microseconds since 1970-01-01 UTC; now if it is ``None``."""


class _Instant(int):
    pass


_Id = Annotated[str, Meta(min_length=1, max_length=256)]


class _Request(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    user_id: _Id
    product_id: _Id
    event_type: str | None = None
    amount: Annotated[float, Meta(ge=0)] | None = None
    timestamp: _Instant | None = None

    def __post_init__(self) -> None:
        if self.amount is not None and self.event_type == VIEW:
            raise ValueError("an amount of a view")


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """What a batch asks.

    Attributes:
        requests: Its requests, but for those at fault.
        places: Where each of them is in the batch.
        problems: What is wrong with the others, by their place.
    """

    requests: Sequence[Asked]
    places: Sequence[int]
    problems: Mapping[int, ProblemError]

    def __len__(self) -> int:
        """Return how many requests the batch has, those at fault among them."""
        return len(self.requests) + len(self.problems)


class RequestReader:
    """Validates bodies.

    What msgspec takes is what pydantic takes, some six times as fast; whatever it does not take, pydantic looks
    at, and says what is at fault.

    Args:
        event_types: The event types that a request may name.
        max_batch: Most requests in a batch.

    Attributes:
        request: The model of a request, for the documentation.
        batch: The model of a batch, for the documentation.
    """

    def __init__(self, event_types: tuple[str, ...], max_batch: int) -> None:
        self.request = request_model(event_types)
        self.batch = batch_model(self.request, max_batch)
        self._pydantic_one = self.request.__pydantic_validator__.validate_json
        self._pydantic_item = self.request.__pydantic_validator__.validate_python
        self._pydantic_batch = self.batch.__pydantic_validator__.validate_json
        names = Literal[event_types]  # type: ignore[valid-type]
        one = msgspec.defstruct(
            "Request", [("event_type", names | None, None)], bases=(_Request,), frozen=True, gc=False
        )
        many = Annotated[list[one], Meta(min_length=1, max_length=max_batch)]  # type: ignore[valid-type]
        whole = msgspec.defstruct("Batch", [("requests", many)], forbid_unknown_fields=True)
        # The types are made here, so the checker knows only that they are structs.
        self._decode_one: Callable[[bytes], Any] = msgspec.json.Decoder(one, dec_hook=_hook).decode
        self._decode_batch: Callable[[bytes], Any] = msgspec.json.Decoder(whole, dec_hook=_hook).decode

    def one(self, body: bytes) -> Asked:
        """Return the request of a body.

        Raises:
            ProblemError: It breaks the contract; names the fields at fault.
        """
        # The one thing that the contract forbids and msgspec's types do not say.
        if _NUL not in body:
            try:
                decoded: Asked = self._decode_one(body)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                pass
            else:
                return decoded
        try:
            request: PredictionRequest = self._pydantic_one(body)
        except ValidationError as error:
            raise validation_problem(error.errors(include_url=False)) from None
        return request

    def many(self, body: bytes) -> ReadBatch:
        """Return what a batch asks.

        Raises:
            ProblemError: The batch itself breaks the contract; requests of it that do are in what is returned.
        """
        if _NUL not in body:
            try:
                decoded: Sequence[Asked] = self._decode_batch(body).requests
            except (msgspec.MsgspecError, UnicodeDecodeError):
                pass
            else:
                return ReadBatch(decoded, range(len(decoded)), {})
        try:
            requests: Sequence[Asked] = self._pydantic_batch(body).requests
        except ValidationError as error:
            whole = [detail for detail in error.errors(include_url=False) if len(detail["loc"]) < 2]
            if whole:
                raise validation_problem(whole) from None
        else:
            return ReadBatch(requests, range(len(requests)), {})
        # Only single requests are at fault: each is looked at again on its own.
        items = list(enumerate(self._item(fields) for fields in from_json(body)["requests"]))
        return ReadBatch(
            [item for _, item in items if not isinstance(item, ProblemError)],
            [place for place, item in items if not isinstance(item, ProblemError)],
            {place: item for place, item in items if isinstance(item, ProblemError)},
        )

    def _item(self, fields: Any) -> Asked | ProblemError:
        try:
            request: PredictionRequest = self._pydantic_item(fields)
        except ValidationError as error:
            return validation_problem(error.errors(include_url=False))
        return request


def _hook(kind: type, value: Any) -> Any:
    try:
        return kind(parse_timestamp(value))
    except InvalidEventError as error:
        raise ValueError(str(error)) from None
