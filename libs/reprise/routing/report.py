"""The routing report: the response of a predictor to ``GET /routing`` on its metrics port."""

from typing import ClassVar, Literal

from pydantic import Field

from reprise.routing.strict_model import ArmName, BasisPoints, Digest, StrictModel


class ArmReport(StrictModel):
    """The state of one arm in this predictor: ``failed`` after an attempt to load its bundle, which may be retried."""

    name: ArmName
    digest: Digest
    weight: BasisPoints
    shadow: bool = False
    state: Literal["loading", "loaded", "failed"]
    reason: str | None = Field(None, description="Why loading failed.")


class RoutingReport(StrictModel):
    """The document that a predictor has applied, and why it refused the newest one, if it did."""

    KIND: ClassVar[str] = "routing report"

    schema_version: Literal[1] = 1
    generation: int | None = Field(description="Generation of the applied document; null before the first.")
    fingerprint: str | None = Field(description="Fingerprint of the applied document.")
    rollout: str | None = Field(description="Resource of the applied document, namespace/name.")
    arms: tuple[ArmReport, ...] = Field(description="Arms in the document's order; empty while released.")
    refused: str | None = Field(None, description="Why the newest document was refused.")
