"""Decodes and validates request bodies by the contract, and names the fields at fault."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from pydantic_core import from_json

from reprise.http.problems import INVALID_JSON, FieldProblem, ProblemError, invalid_request
from reprise.predictor.models.api import (
    PredictionRequest,
    contract_faults,
    decode_timestamp,
    request_types,
)

_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_VALUE = "value"


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A decoded batch.

    Attributes:
        requests: The valid requests.
        positions: Their positions in the batch.
        problems: The problems with the invalid requests, by position.
    """

    requests: Sequence[PredictionRequest]
    positions: Sequence[int]
    problems: Mapping[int, ProblemError]

    def __len__(self) -> int:
        """Return the number of requests, valid or not."""
        return len(self.requests) + len(self.problems)


class RequestDecoder:
    """Decodes bodies whose event types are ``event_types``, and batches of at most ``max_batch`` requests.

    msgspec stops at the first fault. A body that it refuses is parsed again, and each field validated on its own.

    Attributes:
        request: The type of a request.
        batch: The type of a batch.
    """

    def __init__(self, event_types: tuple[str, ...], max_batch: int) -> None:
        self.request, self.batch = request_types(event_types, max_batch)
        items = Annotated[list[Any], Meta(min_length=1, max_length=max_batch)]
        self._batch_of_any = msgspec.defstruct("Batch", [("requests", items)], forbid_unknown_fields=True)
        # The types are made at run time, so mypy knows nothing of their fields.
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(
            self.request, dec_hook=decode_timestamp
        ).decode
        self._decode_batch: Callable[[bytes], Any] = msgspec.json.Decoder(
            self.batch, dec_hook=decode_timestamp
        ).decode

    def decode(self, body: bytes) -> PredictionRequest:
        """Return the request of a body.

        Raises:
            ProblemError: The body breaks the contract; names the fields at fault.
        """
        try:
            request: PredictionRequest = self._decode(body)
        except _UNDECODABLE:
            request = _validated(self.request, _parse(body))
        return request

    def decode_batch(self, body: bytes) -> DecodedBatch:
        """Return the batch of a body.

        Raises:
            ProblemError: The batch itself breaks the contract, such as one beyond the maximum size.
        """
        try:
            decoded: Sequence[PredictionRequest] = self._decode_batch(body).requests
        except _UNDECODABLE:
            pass
        else:
            return DecodedBatch(decoded, range(len(decoded)), {})
        valid: dict[int, PredictionRequest] = {}
        problems: dict[int, ProblemError] = {}
        for position, fields in enumerate(_validated(self._batch_of_any, _parse(body)).requests):
            try:
                valid[position] = _validated(self.request, fields)
            except ProblemError as problem:
                problems[position] = problem
        return DecodedBatch(list(valid.values()), list(valid), problems)


def _parse(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError as error:
        raise ProblemError(INVALID_JSON, f"The body is not valid JSON: {error}") from None


def _validated(kind: type[Struct], value: Any) -> Any:
    """Return a JSON value as a struct.

    Raises:
        ProblemError: Names every field at fault.
    """
    if not isinstance(value, dict):
        raise invalid_request([FieldProblem.holding("", "Expected an object", value)])
    try:
        return msgspec.convert(value, kind, dec_hook=decode_timestamp)
    except msgspec.ValidationError as error:
        refusal = error
    faults = []
    valid = {}
    for field, alone in _fields(kind):
        if field.name in value:
            held = value[field.name]
            try:
                valid[field.name] = getattr(
                    msgspec.convert({_VALUE: held}, alone, dec_hook=decode_timestamp), _VALUE
                )
            except msgspec.ValidationError as error:
                faults.append(FieldProblem.holding(field.name, _expected(error, kind, field.name), held))
        elif field.required:
            faults.append(FieldProblem(field=field.name, message="Field required"))
    unknown = value.keys() - set(kind.__struct_fields__)
    faults += [FieldProblem.holding(name, "Unknown field", value[name]) for name in sorted(unknown)]
    if issubclass(kind, PredictionRequest):
        valid.pop("timestamp", None)
        faults += [
            FieldProblem.holding(name, text, value[name]) for name, text in contract_faults(**valid).items()
        ]
    if not faults:
        raise refusal
    raise invalid_request(faults)


@lru_cache(maxsize=16)
def _fields(kind: type[Struct]) -> list[tuple[msgspec.structs.FieldInfo, type[Struct]]]:
    """Return each field with a struct of this field alone: msgspec analyses any other type at each conversion."""
    return [
        (field, msgspec.defstruct(field.name, [(_VALUE, field.type)]))
        for field in msgspec.structs.fields(kind)
    ]


def _expected(error: msgspec.ValidationError, kind: type[Struct], name: str) -> str:
    return _event_types(kind) if name == "event_type" else str(error).removesuffix(f" - at `$.{_VALUE}`")


@lru_cache(maxsize=16)
def _event_types(kind: type[Struct]) -> str:
    """Return the valid event types, which msgspec's message lacks."""
    field = next(field for field, _ in _fields(kind) if field.name == "event_type")
    return "Expected " + " or ".join(msgspec.json.schema(field.type)["anyOf"][0]["enum"])
