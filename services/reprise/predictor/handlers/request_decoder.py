"""Decodes and validates request bodies by the contract, and names the fields at fault."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct
from pydantic_core import from_json

from reprise.http.problems import INVALID_JSON, FieldProblem, ProblemError, invalid_request
from reprise.predictor.models.api import (
    PredictionRequest,
    RankRequest,
    contract_faults,
    decode_timestamp,
    request_types,
)

_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_VALUE = "value"


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """The valid requests of a batch with their positions, and the problems with the others by position."""

    requests: Sequence[PredictionRequest]
    positions: Sequence[int]
    problems: Mapping[int, ProblemError]

    def __len__(self) -> int:
        """Return the number of requests, valid or not."""
        return len(self.requests) + len(self.problems)


class RequestDecoder:
    """Decodes bodies whose event types are ``event_types``, and batches of at most ``max_batch`` requests.

    msgspec stops at the first fault. A body that it refuses is parsed again, and each field validated on its own.
    """

    def __init__(self, event_types: tuple[str, ...], max_batch: int) -> None:
        self.request, self.batch, self.rank = request_types(event_types, max_batch)
        items = Annotated[list[Any], Meta(min_length=1, max_length=max_batch)]
        self._batch_of_any = msgspec.defstruct("Batch", [("requests", items)], forbid_unknown_fields=True)
        # The types are made at run time, so mypy knows nothing of their fields.
        decoders = [
            msgspec.json.Decoder(kind, dec_hook=decode_timestamp)
            for kind in (self.request, self.batch, self.rank)
        ]
        self._decode: Callable[[bytes], Any] = decoders[0].decode
        self._decode_batch: Callable[[bytes], Any] = decoders[1].decode
        self._decode_rank: Callable[[bytes], Any] = decoders[2].decode

    def decode(self, body: bytes) -> PredictionRequest:
        """Return the request of a body; raises ``ProblemError`` with the fields at fault."""
        try:
            return cast(PredictionRequest, self._decode(body))
        except _UNDECODABLE:
            return cast(PredictionRequest, _validated(self.request, _parse(body)))

    def decode_rank(self, body: bytes) -> RankRequest:
        """Return the request of a body; raises ``ProblemError`` with the fields at fault."""
        try:
            return cast(RankRequest, self._decode_rank(body))
        except _UNDECODABLE:
            return cast(RankRequest, _validated(self.rank, _parse(body)))

    def decode_batch(self, body: bytes) -> DecodedBatch:
        """Return the batch of a body; raises ``ProblemError`` if the batch itself breaks the contract."""
        with suppress(*_UNDECODABLE):
            decoded = self._decode_batch(body).requests
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
    """Return a JSON value as a struct; raises ``ProblemError`` with every field at fault."""
    if not isinstance(value, dict):
        raise invalid_request([FieldProblem.holding("", "Expected an object", value)])
    try:
        return msgspec.convert(value, kind, dec_hook=decode_timestamp)
    except msgspec.ValidationError as error:
        refusal = error
    faults, valid = [], {}
    for field, alone, expected in _fields(kind):
        name = field.name
        if name in value:
            try:
                converted = msgspec.convert({_VALUE: value[name]}, alone, dec_hook=decode_timestamp)
                valid[name] = getattr(converted, _VALUE)
            except msgspec.ValidationError as error:
                message = expected or str(error).removesuffix(f" - at `$.{_VALUE}`")
                message = message.replace(f"`$.{_VALUE}[", f"`$.{name}[")
                faults.append(FieldProblem.holding(name, message, value[name]))
        elif field.required:
            faults.append(FieldProblem(field=name, message="Field required"))
    unknown = value.keys() - set(kind.__struct_fields__)
    faults += [FieldProblem.holding(name, "Unknown field", value[name]) for name in sorted(unknown)]
    if issubclass(kind, PredictionRequest | RankRequest):
        valid.pop("timestamp", None)
        if "event_type" in {fault.field for fault in faults}:
            valid["event_type"] = ""  # It was given, so the others do not lack it
        faults += [
            FieldProblem.holding(name, text, value[name]) for name, text in contract_faults(**valid).items()
        ]
    if not faults:
        raise refusal
    raise invalid_request(faults)


@lru_cache(maxsize=16)
def _fields(kind: type[Struct]) -> list[tuple[msgspec.structs.FieldInfo, type[Struct], str | None]]:
    """Return each field, a struct of this field alone, and what is expected where msgspec's message does not say it.

    msgspec analyses any type but a struct at each conversion.
    """
    fields = []
    for field in msgspec.structs.fields(kind):
        expected = None
        if field.name == "event_type":
            expected = "Expected " + " or ".join(msgspec.json.schema(field.type)["anyOf"][0]["enum"])
        fields.append((field, msgspec.defstruct(field.name, [(_VALUE, field.type)]), expected))
    return fields
