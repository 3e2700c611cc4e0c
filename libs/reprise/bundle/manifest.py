"""The manifest of a bundle: everything that a predictor needs, and the model's evaluation.

Two trainings of the same data with the same seed give the same manifest, so that its sha256, the bundle's digest, names
the model. Times of day and durations are in ``metadata.json``.
"""

import json
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reprise.bundle.exceptions import InvalidBundleError

FORMAT: Final = 1
"""The version of the bundle format, the only one that is written and read."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


class ModelFile(_Part):
    """The ONNX graph: classifier and calibration in one."""

    file: Literal["model.onnx"] = "model.onnx"
    sha256: Sha256
    size: Annotated[int, Field(gt=0, description="Bytes.")]
    opsets: dict[str, int] = Field(
        description="ONNX operator sets, domain to version; the default one is ai.onnx."
    )
    input: str = Field(description="Name of the input: float32 [rows, inputs], NaN where missing.")
    output: str = Field(description="Name of the output: float32 [rows], P(buys within the horizon).")


class InputColumn(_Part):
    """One column of the model's input; its position in the manifest is its position in the row."""

    name: str
    type: Literal["float32"] = "float32"


class Histogram(_Part):
    """Counts in fixed bins: bin i has edges[i] ≤ x < edges[i + 1], the last one its upper edge as well.

    Values beyond the outer edges count in the outer bins, so that a later sample is counted in full.
    """

    edges: tuple[float, ...]
    counts: tuple[Count, ...]
    missing: Count = Field(0, description="Rows without a value.")

    @model_validator(mode="after")
    def _edges_enclose_the_counts(self) -> Self:
        if len(self.edges) != len(self.counts) + 1 and (self.edges or self.counts):
            raise ValueError(
                f"{len(self.counts)} counts need {len(self.counts) + 1} edges, got {len(self.edges)}"
            )
        if any(left >= right for left, right in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")
        return self


class Scores(_Part):
    """Classification metrics on a set of rows; ``None`` where a metric is undefined."""

    roc_auc: Share | None
    average_precision: Share | None
    brier: Share
    log_loss: Annotated[float, Field(ge=0.0)]
    calibration_error: Share = Field(description="Expected calibration error over 10 bins of equal count.")
    precision: Share | None = Field(
        description="At the scorer's own threshold; none where nothing is predicted."
    )
    recall: Share | None = Field(description="At the scorer's own threshold; none where nothing is positive.")


class ReliabilityBin(_Part):
    """One point of the calibration curve."""

    rows: Count
    mean_probability: Share
    positive_share: Share


class SliceReport(_Part):
    """The model, its baselines and, where the truth is known, the oracle on the same rows."""

    rows: Count
    positives: Count
    model: Scores
    baselines: dict[str, Scores] = Field(
        description="``prevalence``, ``recency``, ``frequency``, ``rfm_tree`` and ``poisson_gamma``."
    )
    oracle: Scores | None = Field(
        None, description="The generator's own probability: how good any model could be."
    )
    share_of_achievable: float | None = Field(
        None, description="(AUC − recency's AUC) ÷ (oracle's AUC − recency's AUC)."
    )
    reliability: tuple[ReliabilityBin, ...] = ()

    @property
    def mean_probability(self) -> float:
        """The model's mean probability."""
        return sum(each.rows * each.mean_probability for each in self.reliability) / self.rows


class Evaluation(_Part):
    """The evaluation on held-out requests at events: all, and those whose pair was bought before; and by question."""

    overall: SliceReport
    repeat_candidates: SliceReport | None = Field(description="None where there are no such rows.")
    questions: dict[str, SliceReport] = Field(
        default_factory=dict,
        description="By what is asked and when; empty for a model that was not asked so.",
    )


class KindVerdict(_Part):
    """The verdicts on one kind of request, and how often they were right on held-out rows.

    Tables of a kind with few rows on a side of the threshold are of its group, or of all rows.
    """

    threshold: Share | None = Field(
        description="A probability at or above it predicts a purchase; none: a purchase is never predicted."
    )
    edges: tuple[Share, ...] = Field(description="Rising probabilities between the steps of ``confidences``.")
    confidences: tuple[Share, ...] = Field(
        description="Number i is of probabilities from edge i − 1 to edge i: of the rows at least as extreme on"
        " the verdict's side, the lower end of the 95% interval of the share for which it was right; at the threshold"
        " that share itself, which no other is below."
    )
    pooled: bool = Field(description="Whether a side has rows of other kinds, because its own are too few.")
    true_positives: Count = Field(description="Of the kind's own held-out rows, as the next three.")
    false_positives: Count
    true_negatives: Count
    false_negatives: Count

    @model_validator(mode="after")
    def _edges_part_the_confidences(self) -> Self:
        if len(self.confidences) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} confidences")
        if any(left >= right for left, right in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")
        return self

    @property
    def least_confidences(self) -> tuple[float | None, float]:
        """The confidences at the threshold, of a predicted purchase, if any is predicted, and of none."""
        if self.threshold is None:
            return None, self.confidences[-1]
        at = self.edges.index(self.threshold)
        return self.confidences[at + 1], self.confidences[at]


class Window(_Part):
    """The rows of a time range."""

    start: str = Field(description="RFC 3339, inclusive.")
    end: str = Field(description="RFC 3339, exclusive.")
    rows: Count
    positives: Count


class DataSnapshot(_Part):
    """The events of training and evaluation."""

    events_sha256: Sha256 = Field(description="Over the canonical events' content, whatever file held them.")
    events: Count
    first: str = Field(description="RFC 3339 time of the first event.")
    last: str = Field(description="RFC 3339 time of the last event.")
    labelled_rows: Count = Field(description="Rows whose horizon was over.")
    sampled_rows: Count = Field(description="Rows used after sampling to the row limit.")
    train: Window
    calibration: Window
    evaluation: Window


class Refit(_Part):
    """The published model of a bundle that was grown again after its evaluation: same parameters, later rows."""

    train: Window = Field(description="Rows that it was grown on.")
    newest_row: str = Field(description="RFC 3339 time of the newest of them.")
    calibration: Window = Field(description="Rows whose out-of-time scores calibrate it.")
    evaluated_sha256: Sha256 = Field(
        description="Of ``evaluated.onnx``, the graph that the evaluation is of."
    )
    evaluated_threshold: Share = Field(
        description="The evaluated model's threshold, chosen by the same rule."
    )


class Parity(_Part):
    """The difference between ONNX Runtime and scikit-learn; the tolerance is beyond what rounding explains."""

    rows: Count
    max_abs_diff: Annotated[float, Field(ge=0.0)]
    tolerance: Annotated[float, Field(gt=0.0)]


class UserScores(_Part):
    """How good probabilities of the users' question are on held-out rows."""

    roc_auc: Share
    brier: Share
    log_loss: Annotated[float, Field(ge=0.0)]
    calibration_error: Share = Field(description="Expected calibration error over 10 bins of equal count.")


class UserModel(_Part):
    """The model of the second question: whether a user with a purchase buys anything within the horizon.

    Its graph has the form of the other, and is judged and refit over the same spans.
    """

    sha256: Sha256 = Field(description="Of ``users.onnx``, the published graph.")
    evaluated_sha256: Sha256 = Field(
        description="Of ``evaluated-users.onnx``, the graph that the evaluation is of."
    )
    inputs: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Names of its inputs, in order: those of the plan's user entity."
    )
    users: Count = Field(description="Users that it has learnt from.")
    train: Window = Field(description="Rows that the published graph was grown on.")
    calibration: dict[str, float] = Field(description="Coefficients of the published graph's calibration.")
    rows: Count = Field(description="Held-out rows.")
    positives: Count
    scores: dict[str, UserScores] = Field(
        description="On held-out rows: ``model``; ``recency_frequency``, a tree of days since the last purchase and"
        " number of purchases; and ``prevalence``."
    )
    intervals: dict[str, tuple[float, float]] = Field(
        description="95% intervals of the model's scores over users."
    )
    reliability: tuple[ReliabilityBin, ...]
    parity: Parity


class HorizonModel(_Part):
    """The model of a further horizon: its graphs have the inputs of ``model.onnx``.

    Its probability is bounded by that of the next horizon towards the model's own: a purchase within a week is one
    within a month. Evaluation, intervals and confidences are of bounded probabilities; thresholds are chosen before
    the bound.
    """

    seconds: Annotated[int, Field(gt=0)]
    sha256: Sha256 = Field(description="Of ``horizon-SECONDS.onnx``, the published graph.")
    evaluated_sha256: Sha256 = Field(
        description="Of ``evaluated-horizon-SECONDS.onnx``, the graph that the evaluation is of."
    )
    threshold: Share = Field(description="Chosen for all requests at events together.")
    verdicts: dict[str, KindVerdict] = Field(description="By kind of request.")
    train: Window = Field(description="Rows that the published graph was grown on.")
    calibration: dict[str, float] = Field(description="Coefficients of the published graph's calibrations.")
    evaluated: Window = Field(
        description="Held-out rows, asked in any way; no other horizon's evaluated graph has learnt from them."
    )
    evaluation: Evaluation
    intervals: dict[str, dict[str, tuple[float, float]]] = Field(
        description="95% intervals of the model's scores over users, by ``overall`` and ``repeat_candidates``."
    )
    bounded: Share = Field(description="Share of the held-out rows whose probability the bound changed.")
    unbounded_brier: Share = Field(
        description="Brier score without the bound, of the requests at events that ``evaluation.overall`` is of."
    )
    parity: Parity


class Importance(_Part):
    """The importance of one input."""

    name: str
    impurity: float = Field(description="Share of the forest's impurity decrease; they sum to 1.")
    permutation: float = Field(description="Drop of ROC AUC when the column is shuffled.")


class Manifest(_Part):
    """The manifest of one bundle, ``manifest.json``."""

    format: Literal[1] = FORMAT
    model: ModelFile
    schema_hash: str = Field(description="Of the state views: what materializer and predictor must agree on.")
    plan_hash: str = Field(description="Of the whole compiled plan.")
    plan: dict[str, Any] = Field(description="The compiled plan; a predictor needs nothing else.")
    inputs: Annotated[tuple[InputColumn, ...], Field(min_length=1)]
    horizon_seconds: Annotated[int, Field(gt=0)]
    refund_window_seconds: int = Field(
        0, ge=0, description="Purchases that are returned within it are no label; 0 if every purchase is."
    )
    threshold: Share = Field(
        description="Chosen for all requests at events together; ``verdicts`` has that of each kind."
    )
    verdicts: dict[str, KindVerdict] = Field(
        default_factory=dict,
        description="By kind of request; empty for a model with one threshold, which states the probability of"
        " the predicted class as its confidence.",
    )
    seed: int
    parameters: dict[str, Any] = Field(description="How the model was trained.")
    calibration: dict[str, float] = Field(
        description="Coefficients of the calibrations that the graph ends with, such as ``repeat idle a``."
    )
    evaluation: Evaluation
    importances: tuple[Importance, ...]
    data: DataSnapshot = Field(description="The rows of the evaluated model.")
    refit: Refit | None = Field(None, description="None: the published model is the evaluated one.")
    users: UserModel | None = Field(
        None, description="None: the data was not enough for it, or an earlier version trained the bundle."
    )
    horizons: tuple[HorizonModel, ...] = Field(
        (),
        description="The models of further horizons, the shortest first; the member is absent without one.",
    )
    parity: Parity
    score_histogram: Histogram = Field(description="Of the probabilities of the evaluation rows.")
    feature_histograms: dict[str, Histogram] = Field(
        description="Of each input over the rows that the published model was grown on."
    )
    libraries: dict[str, str] = Field(description="Versions that made the model.")

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [column.name for column in self.inputs]
        if len(set(names)) != len(names):
            raise ValueError("inputs: a name occurs twice")
        unknown = sorted(set(self.feature_histograms) - set(names))
        if unknown:
            raise ValueError(f"feature_histograms: {unknown[0]} is no input")
        spans = [each.seconds for each in self.horizons]
        if self.horizon_seconds in spans or spans != sorted(set(spans)):
            raise ValueError("horizons: expected rising horizons, each different from horizon_seconds")
        return self

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs, in the order of the row."""
        return tuple(column.name for column in self.inputs)

    def to_bytes(self) -> bytes:
        """Return the canonical JSON, whose sha256 is the digest: sorted keys, UTF-8, one line."""
        absent = None if self.horizons else {"horizons"}
        return canonical_json(self.model_dump(mode="json", exclude=absent))

    @classmethod
    def from_bytes(cls, data: bytes, *, location: str = "manifest.json") -> Self:
        """Read a manifest; fields of later versions are ignored, since one that a reader must know raises ``FORMAT``.

        Raises:
            InvalidBundleError: The bytes are no JSON object, the format is unknown, or a field is wrong.
        """
        content = read_json_object(data, location)
        if content.get("format") != FORMAT:
            raise InvalidBundleError(f"{location}: expected format {FORMAT}, got {content.get('format')!r}")
        try:
            return cls.model_validate(content, extra="ignore")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "manifest"
            raise InvalidBundleError(
                f"{location}: {where}: {first['msg']} ({error.error_count()} problems in all)"
            ) from None


def read_json_object(data: bytes, location: str) -> dict[str, Any]:
    """Return the JSON object in a file; raises ``InvalidBundleError``."""
    try:
        content = json.loads(data)
    except ValueError as error:
        raise InvalidBundleError(f"{location}: no JSON ({error})") from None
    if not isinstance(content, dict):
        raise InvalidBundleError(f"{location}: expected a JSON object")
    return content


def canonical_json(content: Any) -> bytes:
    """Return JSON with sorted keys and no spaces, in UTF-8, ending with a newline.

    Raises:
        InvalidBundleError: A number is NaN or infinite, or a value has no JSON form.
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise InvalidBundleError(f"manifest.json: {error}") from None
    return f"{text}\n".encode()
