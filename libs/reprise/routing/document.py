"""The routing document: which model answers which users."""

import hashlib
from collections.abc import Iterable
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from reprise.routing.strict_model import ArmName, BasisPoints, Digest, Wire

BUCKETS: Final = 10_000
"""How many buckets users are hashed to: one for each basis point."""

BASELINE: Final = "baseline"
"""Name of the arm that users are in who are in no candidate's."""

Bound = Annotated[int, Field(ge=0, le=BUCKETS)]
Range = tuple[Bound, Bound]
"""Buckets from the first number up to and without the second."""


class Arm(Wire):
    """One model of a rollout, and the buckets of users that it answers."""

    name: ArmName
    digest: Digest
    weight: BasisPoints = Field(description="How many buckets it has.")
    shadow: bool = Field(False, description="Whether it scores every request and answers none.")
    buckets: tuple[Range, ...] = Field((), description="Which buckets it has, as half-open ranges.")

    @model_validator(mode="after")
    def _buckets_are_the_weight(self) -> Self:
        for first, end in self.buckets:
            if first >= end:
                raise ValueError(f"buckets: [{first}, {end}] is empty")
        if (total := width(self.buckets)) != self.weight:
            raise ValueError(f"buckets: hold {total} of {BUCKETS}, but weight says {self.weight}")
        if self.shadow and self.weight:
            raise ValueError(f"weight: a shadow answers nobody, so it is 0, got {self.weight}")
        return self


class RoutingDocument(Wire):
    """What the operator publishes and every predictor applies.

    ``arms`` begins with the baseline. An arm of weight 0 is held in memory and answers nobody. An arm whose
    bundle a predictor cannot load answers nobody there either: the baseline answers its users, and the answers
    are recorded as the baseline's. A document without arms releases the predictors, each to the model it is
    configured with; where there is no document at all, a predictor keeps what it has applied before.
    """

    WHAT: ClassVar[str] = "routing document"

    schema_version: Literal[1] = 1
    generation: int = Field(ge=1, description="Rises with every document of a project.")
    rollout: str = Field(min_length=1, max_length=317, description="The resource, namespace/name.")
    salt: str = Field(
        max_length=253,
        pattern=r"^[^\x00]*$",
        description="Of the assignment; another salt is another assignment.",
    )
    arms: tuple[Arm, ...] = Field(max_length=32)

    @property
    def released(self) -> bool:
        """Whether each predictor is to answer with the model that it is configured with."""
        return not self.arms

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the content's sha256, which a predictor reports back."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:16]

    @model_validator(mode="after")
    def _arms_share_all_users(self) -> Self:
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
            if first != end:
                between = f"{first} to {end}" if first < end else f"{end} to {first}"
                raise ValueError(
                    f"arms: buckets {between} belong to {'two arms' if first < end else 'no arm'}"
                )
            end = following
        return self


def width(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many buckets the ranges hold."""
    return sum(end - first for first, end in ranges)
