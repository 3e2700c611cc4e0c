"""The spec of a ``ModelRollout``; the custom resource definition is generated from it, descriptions included."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from reprise.rollout.exceptions import InvalidResourceError
from reprise.routing import BASELINE
from reprise.routing.sample_ratio import FALSE_ALARM
from reprise.runtime.durations import parse_duration

RULES = "x-kubernetes-validations"

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Percent = Annotated[float, Field(ge=0, le=100)]


def _is_duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[
    str,
    Field(pattern=r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$", min_length=2, max_length=24),
    AfterValidator(_is_duration),
]
"""A duration as people write it: ``90s``, ``10m``, ``1d12h``."""


class Part(BaseModel):
    """Base of the parts of a resource: camel case, frozen, without unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )


class Baseline(Part):
    """The model that answers the users who are in no candidate's arm."""

    digest: Digest = Field(description="Digest of the bundle, sha256:<64 hexadecimal digits>.")


class Candidate(Part):
    """A model that is tried on a share of the users, or as a shadow."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [{"rule": f"self.name != '{BASELINE}'", "message": f"{BASELINE} is the baseline's name"}]
        }
    )

    name: Name = Field(description="Name of the arm, a DNS label; predictions are recorded under it.")
    digest: Digest = Field(
        description="Digest of the bundle. A new digest under the same name is a new candidate, from the first step on."
    )
    traffic_percent: Percent = Field(
        50.0,
        description="Share of the users after the last step, in percent, rounded down to hundredths.",
    )
    shadow: bool = Field(
        False,
        description="Score every request without answering any. A shadow has no traffic and no steps.",
    )


class Assignment(Part):
    """How users are assigned to arms."""

    key: Literal["user_id"] = Field("user_id", description="The hashed field.")
    salt: str = Field(
        "",
        max_length=253,
        pattern=r"^[^\x00]*$",
        description="Salt of the hash; a new salt reassigns users, and takes effect once no candidate has"
        " traffic. Empty: the resource's name.",
    )


class Step(Part):
    """A share of the users, and how long it is held."""

    traffic_percent: Annotated[float, Field(gt=0, le=100)] = Field(
        description="Maximum share of each candidate in this step, in percent of the users."
    )
    hold: Duration = Field("10m", description="Minimum duration of the step, such as 90s, 10m or 1d12h.")


class Metric(Part):
    """A metric of a candidate, and its limit."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "self.type == 'SampleRatio' || has(self.max) || has(self.maxRatio)",
                    "message": "max or maxRatio is required, except for SampleRatio",
                },
                {
                    "rule": "!has(self.maxRatio) || self.type in ['ErrorRate', 'LatencyP99']",
                    "message": "maxRatio is for ErrorRate and LatencyP99",
                },
            ]
        }
    )

    type: Literal["ErrorRate", "LatencyP99", "ScoreDistance", "SampleRatio"] = Field(
        description="ErrorRate: share of requests that the arm failed to answer. LatencyP99: seconds from state to"
        " probability. ScoreDistance: population stability index of the arm's probabilities against the baseline's."
        " SampleRatio: test of the arm's number of users against its weight."
    )
    max: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="Maximum value. For SampleRatio the probability that it ever raises a false alarm, 0.001 by"
        " default.",
    )
    max_ratio: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Maximum multiple of the baseline's value."
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.type != "SampleRatio" and self.max is None and self.max_ratio is None:
            raise ValueError("max or maxRatio is required, except for SampleRatio")
        if self.max_ratio is not None and self.type not in {"ErrorRate", "LatencyP99"}:
            raise ValueError("maxRatio is for ErrorRate and LatencyP99")
        return self


def _default_metrics() -> tuple[Metric, ...]:
    return (
        Metric(type="ErrorRate", max=0.01),
        Metric(type="LatencyP99", max=0.1),
        Metric(type="ScoreDistance", max=0.25),
        Metric(type="SampleRatio", max=FALSE_ALARM),
    )


class Analysis(Part):
    """Analysis of candidates with traffic, and of shadows."""

    interval: Duration = Field("15s", description="Interval of analyses.")
    window: Duration = Field(
        "2m", description="Window of rates and quantiles; at least four times Prometheus's scrape interval."
    )
    failure_limit: Annotated[int, Field(ge=1, le=100)] = Field(
        2, description="Consecutive failed analyses of a metric after which the candidate is rolled back."
    )
    min_samples: Annotated[int, Field(ge=1)] = Field(
        100,
        description="Minimum requests in the window; with fewer a metric has no data, which holds the step.",
    )
    metrics: Annotated[tuple[Metric, ...], Field(max_length=16)] = Field(
        default_factory=_default_metrics, description="The metrics, each type once."
    )

    @model_validator(mode="after")
    def _each_metric_once(self) -> Self:
        types = [metric.type for metric in self.metrics]
        if len(set(types)) != len(types):
            raise ValueError("metrics: each type may occur once")
        return self


class Promotion(Part):
    """Promotion of a candidate that has completed its steps to the baseline."""

    rule: Literal["Manual", "Better", "NotWorse"] = Field(
        "Manual",
        description="Manual: by kubectl annotate modelrollout NAME reprise.dev/promote=CANDIDATE. Better, NotWorse:"
        " also automatically, on that verdict of the sequential test of user outcomes.",
    )
    require_approval: bool = Field(
        False,
        description="Whether Better and NotWorse only recommend a promotion, and a person decides by the annotation"
        " reprise.dev/promote=CANDIDATE, which works at any time.",
    )
    max_evidence_age: Duration = Field("26h", description="Maximum age of the evidence from user outcomes.")


@dataclass(frozen=True, slots=True)
class TrafficStep:
    """A weight in basis points, and the minimum time that a candidate keeps it."""

    weight: int
    hold: timedelta


class RolloutSpec(Part):
    """The desired state of the rollout."""

    model_config = ConfigDict(
        json_schema_extra={
            RULES: [
                {
                    "rule": "self.candidates.map(c, c.shadow ? 0.0 : double(c.trafficPercent)).sum() <= 100.0",
                    "message": "the candidates' trafficPercent add up to more than 100",
                    "fieldPath": ".candidates",
                },
                {
                    "rule": "self.steps.map(s, double(s.trafficPercent)).isSorted() && self.steps.all(s,"
                    " self.steps.exists_one(o, o.trafficPercent == s.trafficPercent))",
                    "message": "each step's trafficPercent is above the one before",
                    "fieldPath": ".steps",
                },
            ]
        }
    )

    baseline: Baseline = Field(
        description="The initial baseline. Once a candidate is promoted it is the baseline, and this field may stay as"
        " it is: see status.lastPromotedDigest. A change of this field takes precedence over earlier promotions."
    )
    candidates: Annotated[tuple[Candidate, ...], Field(max_length=8)] = Field(
        (), description="The candidate models."
    )
    assignment: Assignment = Field(default_factory=Assignment, description="Assignment of users to arms.")
    steps: Annotated[tuple[Step, ...], Field(max_length=20)] = Field(
        (),
        description="Shares that each candidate goes through, rising; its own trafficPercent is the last.",
    )
    analysis: Analysis = Field(default_factory=Analysis, description="Analysis of candidates.")
    promotion: Promotion = Field(default_factory=Promotion, description="Promotion of candidates.")
    suspend: bool = Field(
        False,
        description="Hold every step, and promote nothing by rule. Candidates are still analysed and rolled back.",
    )

    @model_validator(mode="after")
    def _shares_and_steps(self) -> Self:
        names = [candidate.name for candidate in self.candidates]
        if len(set(names)) != len(names) or BASELINE in names:
            raise ValueError(f"candidates: names must differ, and none may be {BASELINE}")
        if sum(c.traffic_percent for c in self.candidates if not c.shadow) > 100:
            raise ValueError("candidates: trafficPercent add up to more than 100")
        shares = [step.traffic_percent for step in self.steps]
        if any(later <= earlier for earlier, later in pairwise(shares)):
            raise ValueError("steps: each trafficPercent must be above the one before")
        return self

    def steps_of(self, candidate: Candidate) -> tuple[TrafficStep, ...]:
        """Return a candidate's steps, rising; the last is its own ``trafficPercent``.

        Steps at or above that are merged into the last one.
        """
        if candidate.shadow:
            return (TrafficStep(0, timedelta()),)
        steps = [
            TrafficStep(basis_points(step.traffic_percent), parse_duration(step.hold)) for step in self.steps
        ]
        own = basis_points(candidate.traffic_percent)
        hold = next((step.hold for step in steps if step.weight >= own), timedelta())
        return (*(step for step in steps if step.weight < own), TrafficStep(own, hold))

    @classmethod
    def parse(cls, content: Any) -> Self:
        """Return the spec of a resource.

        Raises:
            InvalidResourceError: It violates the schema, as only an outdated definition admits.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InvalidResourceError(problems_of(error, "spec")) from None


def problems_of(error: ValidationError, root: str) -> str:
    """Return each invalid field with what is wrong."""
    return "; ".join(
        f"{'.'.join([root, *map(str, detail['loc'])])}: {detail['msg'].removeprefix('Value error, ')}"
        for detail in error.errors(include_url=False)
    )


def basis_points(percent: float) -> int:
    """Return hundredths of a percent, rounded down so that weights never add up to more than the percentages."""
    return int(percent * 100 + 1e-6)
