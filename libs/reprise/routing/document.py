"""The routing document: which model answers which users; and a predictor's report on it. Both are strict JSON.

The document's key in Redis begins with ``routing:``. Feast's keys begin with a byte that is not a letter, and the
materializer's event ids with ``seen:``.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from reprise.runtime.exceptions import RepriseError

BUCKETS: Final = 10_000
"""Number of buckets that users are hashed to, one per basis point."""

MAX_BYTES: Final = 256 * 1024
"""Maximum size of a document, report or evidence; 32 arms with all buckets in ranges of one take 120 KiB."""

_MAX_PROBLEMS = 10

BASELINE: Final = "baseline"
"""Name of the arm of users who are in no candidate."""

Bound = Annotated[int, Field(ge=0, le=BUCKETS)]
Range = tuple[Bound, Bound]
"""A half-open range of buckets."""

ArmName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS label, so that it is valid in Kubernetes names and label values."""

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""Digest of a bundle."""

BasisPoints = Annotated[int, Field(ge=0, le=BUCKETS)]
"""Hundredths of a percent."""


class RoutingError(RepriseError):
    """Root of this package's errors."""


class InvalidRoutingError(RoutingError, ValueError):
    """A routing document, report or evidence breaks its format; ``problems`` has each field at fault."""

    def __init__(self, kind: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"invalid {kind}: " + "; ".join(self.problems))


def check_size(kind: str, name: str, data: bytes | str, maximum: int) -> None:
    """Return if the data is at most ``maximum`` bytes; raises ``InvalidRoutingError``."""
    if len(data) > maximum:
        raise InvalidRoutingError(kind, [f"{name}: {len(data):,} bytes; the maximum is {maximum:,}"])


class StrictModel(BaseModel):
    """Base of JSON documents: frozen, strict, without unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    KIND: ClassVar[str] = "document"

    @classmethod
    def from_bytes(cls, data: bytes | str) -> Self:
        """Return the document in the JSON; raises ``InvalidRoutingError`` if it breaks the format."""
        check_size(cls.KIND, "document", data, MAX_BYTES)
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            shown = [_problem(each) for each in problems[:_MAX_PROBLEMS]]
            if len(problems) > _MAX_PROBLEMS:
                shown.append(f"and {len(problems) - _MAX_PROBLEMS:,} more")
            raise InvalidRoutingError(cls.KIND, shown) from None

    def to_bytes(self) -> bytes:
        """Return the JSON, the same bytes for the same content."""
        return self.model_dump_json().encode()


class Arm(StrictModel):
    """One model of a rollout and the buckets of users that it answers."""

    name: ArmName
    digest: Digest
    weight: BasisPoints = Field(description="Number of buckets.")
    shadow: bool = Field(False, description="Whether it scores every request and answers none.")
    buckets: tuple[Range, ...] = Field((), description="Its buckets as half-open ranges.")

    @model_validator(mode="after")
    def _check_buckets(self) -> Self:
        for first, end in self.buckets:
            if first >= end:
                raise ValueError(f"buckets: [{first}, {end}] is empty")
        if (total := count_buckets(self.buckets)) != self.weight:
            raise ValueError(f"buckets: hold {total} of {BUCKETS}, but weight says {self.weight}")
        if self.shadow and self.weight:
            raise ValueError(f"weight: a shadow answers nobody, so it is 0, got {self.weight}")
        return self


class RoutingDocument(StrictModel):
    """What the rollout operator publishes and every predictor applies.

    ``arms`` begins with the baseline. An arm of weight 0 is loaded and answers nobody. The baseline answers the users
    of an arm that a predictor cannot load, and these responses count as the baseline's. A document without arms
    releases the predictors to their configured models. If the document is gone, a predictor keeps the last one.
    """

    KIND: ClassVar[str] = "routing document"

    schema_version: Literal[1] = 1
    generation: int = Field(ge=1, description="Increases with every document of a project.")
    rollout: str = Field(min_length=1, max_length=317, description="The resource, namespace/name.")
    salt: str = Field(
        max_length=253,
        pattern=r"^[^\x00]*$",
        description="Salt of the hash; another salt is another assignment.",
    )
    arms: tuple[Arm, ...] = Field(max_length=32)

    @property
    def released(self) -> bool:
        """Whether each predictor uses its configured model."""
        return not self.arms

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the content's sha256; predictors report it."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:16]

    @model_validator(mode="after")
    def _check_arms(self) -> Self:
        if not self.arms:
            return self
        if self.arms[0].shadow:
            raise ValueError("arms.0.shadow: the first arm is the baseline, which answers")
        names = [arm.name for arm in self.arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"arms: {', '.join(twice)} occurs twice")
        weights = [arm.weight for arm in self.arms]
        if sum(weights) != BUCKETS:
            raise ValueError(f"arms: weights add up to {sum(weights)}, not to {BUCKETS}")
        end = 0
        for first, following in sorted(part for arm in self.arms for part in arm.buckets):
            if first < end:
                raise ValueError(f"arms: buckets {first} to {end} belong to two arms")
            if first > end:
                raise ValueError(f"arms: buckets {end} to {first} belong to no arm")
            end = following
        return self


class ArmReport(StrictModel):
    """The state of one arm in this predictor: ``failed`` after an attempt to load its bundle, which may be retried.

    It stays ``loading`` after the first attempts whose rehearsal did not finish.
    """

    name: ArmName
    digest: Digest
    weight: BasisPoints
    shadow: bool = False
    state: Literal["loading", "loaded", "failed"]
    reason: str | None = Field(None, description="Why the last attempt to load it failed.")


class RoutingReport(StrictModel):
    """The document that a predictor has applied, and why it refused the newest one, if it did."""

    KIND: ClassVar[str] = "routing report"

    schema_version: Literal[1] = 1
    generation: int | None = Field(description="Generation of the applied document; null before the first.")
    fingerprint: str | None = Field(description="Fingerprint of the applied document.")
    rollout: str | None = Field(description="Resource of the applied document, namespace/name.")
    arms: tuple[ArmReport, ...] = Field(description="Arms in the document's order; empty while released.")
    refused: str | None = Field(None, description="Why the newest document was refused.")
    refused_baseline: str | None = Field(
        None, description="Digest of its baseline, if it was refused because that cannot be loaded."
    )


def count_buckets(ranges: Iterable[tuple[int, int]]) -> int:
    """Return the number of buckets in the ranges."""
    return sum(end - first for first, end in ranges)


def document_key(project: str) -> str:
    """Return the Redis key of a project's routing document."""
    return f"routing:{project}:document"


def _problem(detail: ErrorDetails) -> str:
    field = ".".join(str(part) for part in detail["loc"]) or "document"
    message = detail["msg"].removeprefix("Value error, ")
    shown = repr(detail["input"])
    got = "" if detail["type"] in {"missing", "value_error"} or len(shown) > 80 else f", got {shown}"
    return f"{field}: {message}{got}"
