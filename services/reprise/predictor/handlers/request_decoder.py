"""Decodes and validates request bodies: msgspec on the fast path, pydantic for everything it rejects.

The contract is the pydantic model ``PredictionRequest``. The msgspec struct below accepts only what the contract
accepts and decodes about six times as fast. A body that it rejects is validated by pydantic, which also reports the
fields at fault.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from pydantic import ValidationError
from pydantic_core import from_json

from reprise.events import InvalidEventError, parse_timestamp
from reprise.http.problems import ProblemError, validation_problem
from reprise.predictor.models.api import VIEW, PredictionRequest, batch_model, request_model
from reprise.predictor.models.prediction import Request

_NUL = b"\\u0000"


class _Timestamp(int):
    """Microseconds since 1970-01-01 UTC; a class of its own, so that msgspec passes it to the hook."""


_Id = Annotated[str, Meta(min_length=1, max_length=256)]


class _FastRequest(Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    user_id: _Id
    product_id: _Id
    event_type: str | None = None
    amount: Annotated[float, Meta(ge=0)] | None = None
    timestamp: _Timestamp | None = None

    def __post_init__(self) -> None:
        if self.amount is not None and self.event_type == VIEW:
            raise ValueError("a view has no amount")


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A decoded batch.

    Attributes:
        requests: The valid requests.
        positions: Their positions in the batch.
        problems: The problems with the invalid requests, by position.
    """

    requests: Sequence[Request]
    positions: Sequence[int]
    problems: Mapping[int, ProblemError]

    def __len__(self) -> int:
        """Return the number of requests, valid or not."""
        return len(self.requests) + len(self.problems)


class RequestDecoder:
    """Decodes bodies whose event types are ``event_types``, and batches of at most ``max_batch`` requests.

    ``batch_model`` states the same limit in OpenAPI.

    Attributes:
        request: The pydantic model of a request.
        batch: The pydantic model of a batch.
    """

    def __init__(self, event_types: tuple[str, ...], max_batch: int) -> None:
        self.request = request_model(event_types)
        self.batch = batch_model(self.request, max_batch)
        self._validate = self.request.__pydantic_validator__.validate_json
        self._validate_item = self.request.__pydantic_validator__.validate_python
        self._validate_batch = self.batch.__pydantic_validator__.validate_json
        names = Literal[event_types]  # type: ignore[valid-type]
        one = msgspec.defstruct(
            "Request", [("event_type", names | None, None)], bases=(_FastRequest,), frozen=True, gc=False
        )
        many = Annotated[list[one], Meta(min_length=1, max_length=max_batch)]  # type: ignore[valid-type]
        batch = msgspec.defstruct("Batch", [("requests", many)], forbid_unknown_fields=True)
        # The structs are created at run time, so mypy knows nothing of their fields.
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(one, dec_hook=_decode_timestamp).decode
        self._decode_batch: Callable[[bytes], Any] = msgspec.json.Decoder(
            batch, dec_hook=_decode_timestamp
        ).decode

    def decode(self, body: bytes) -> Request:
        """Return the request of a body.

        Raises:
            ProblemError: The body breaks the contract; names the fields at fault.
        """
        # NUL is the only part of the contract that msgspec cannot express.
        if _NUL not in body:
            try:
                decoded: Request = self._decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                pass
            else:
                return decoded
        try:
            request: PredictionRequest = self._validate(body)
        except ValidationError as error:
            raise validation_problem(error.errors(include_url=False)) from None
        return request

    def decode_batch(self, body: bytes) -> DecodedBatch:
        """Return the batch of a body.

        Raises:
            ProblemError: The batch itself breaks the contract, such as one beyond the maximum size.
        """
        if _NUL not in body:
            try:
                decoded: Sequence[Request] = self._decode_batch(body).requests
            except (msgspec.MsgspecError, UnicodeDecodeError):
                pass
            else:
                return DecodedBatch(decoded, range(len(decoded)), {})
        try:
            requests: Sequence[Request] = self._validate_batch(body).requests
        except ValidationError as error:
            of_batch = [detail for detail in error.errors(include_url=False) if len(detail["loc"]) < 2]
            if of_batch:
                raise validation_problem(of_batch) from None
        else:
            return DecodedBatch(requests, range(len(requests)), {})
        # Only single requests are invalid, so each is validated on its own.
        valid: dict[int, Request] = {}
        problems: dict[int, ProblemError] = {}
        for position, fields in enumerate(from_json(body)["requests"]):
            try:
                valid[position] = self._validate_item(fields)
            except ValidationError as error:
                problems[position] = validation_problem(error.errors(include_url=False))
        return DecodedBatch(list(valid.values()), list(valid), problems)


def _decode_timestamp(kind: type, value: Any) -> Any:
    try:
        return kind(parse_timestamp(value))
    except InvalidEventError as error:
        raise ValueError(str(error)) from None
