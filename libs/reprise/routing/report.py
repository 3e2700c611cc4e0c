"""What a predictor says of the routing document: the answer to ``GET /routing`` on its metrics port."""

from typing import ClassVar, Literal

from pydantic import Field

from reprise.routing.strict_model import ArmName, BasisPoints, Digest, Wire


class ArmReport(Wire):
    """One arm as this predictor has it.

    ``failed`` is for a bundle that will never do: corrupt, or not fitting this predictor. While a store is away or
    does not have the bundle yet, the arm is ``loading``, and the reason says what it waits for.
    """

    name: ArmName
    digest: Digest
    weight: BasisPoints
    shadow: bool = False
    state: Literal["loading", "loaded", "failed"]
    reason: str | None = Field(None, description="Why it is not loaded.")


class RoutingReport(Wire):
    """What a predictor has applied.

    ``refused`` tells of a document that it read and could not apply; the one applied before goes on.
    """

    WHAT: ClassVar[str] = "routing report"

    schema_version: Literal[1] = 1
    generation: int | None = Field(description="Of the document applied; none before the first.")
    fingerprint: str | None = Field(description="Of the document applied.")
    rollout: str | None = Field(description="Of the document applied, namespace/name.")
    arms: tuple[ArmReport, ...] = Field(description="In the document's order; none while released.")
    refused: str | None = Field(None, description="Why the newest document is not applied.")
