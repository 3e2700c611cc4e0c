"""Strictly validated JSON."""

from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reprise.routing.exceptions import InvalidRoutingError

ArmName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS label, so that it is valid in Kubernetes names and label values."""

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""Digest of a bundle."""

BasisPoints = Annotated[int, Field(ge=0, le=10_000)]
"""Hundredths of a percent."""


class StrictModel(BaseModel):
    """Base of JSON documents: frozen, strict, without unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    KIND: ClassVar[str] = "document"

    @classmethod
    def from_bytes(cls, data: bytes | str) -> Self:
        """Return the document in the JSON.

        Raises:
            InvalidRoutingError: The JSON breaks the format; names every field at fault.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise InvalidRoutingError(cls.KIND, _problems(error)) from None

    def to_bytes(self) -> bytes:
        """Return the JSON, the same bytes for the same content."""
        return self.model_dump_json().encode()


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for detail in error.errors(include_url=False):
        field = ".".join(str(part) for part in detail["loc"]) or "document"
        message = detail["msg"].removeprefix("Value error, ")
        shown = repr(detail["input"])
        got = "" if detail["type"] in {"missing", "value_error"} or len(shown) > 80 else f", got {shown}"
        problems.append(f"{field}: {message}{got}")
    return problems
