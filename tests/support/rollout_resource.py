"""An API server with one ``ModelRollout``, that holds to the operator's own definition."""

from collections.abc import Mapping
from typing import Any

from reprise.rollout.resource.spec import RolloutSpec
from reprise.trainer.exceptions import RolloutConflictError


class FakeRollout:
    """Keeps the resource as an API server does: merge patches, versions, conflicts.

    Attributes:
        name: Its namespace and name.
        resource: The resource.
        patches: What was asked.
        meddle: How many times somebody else changes it between a read and the patch that follows.
    """

    name = "shop/model"

    def __init__(
        self, baseline: str, candidates: list[dict[str, Any]] | None = None, meddle: int = 0
    ) -> None:
        self.resource: dict[str, Any] = {
            "metadata": {"namespace": "shop", "name": "model", "resourceVersion": "1"},
            "spec": {"baseline": {"digest": baseline}, "candidates": candidates or []},
        }
        self.patches: list[Mapping[str, Any]] = []
        self.meddle = meddle

    def get(self) -> dict[str, Any]:
        return {key: dict(value) for key, value in self.resource.items()}

    def patch(self, body: Mapping[str, Any]) -> None:
        self.patches.append(body)
        metadata = self.resource["metadata"]
        if self.meddle:
            self.meddle -= 1
            metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        if body["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise RolloutConflictError(f"change ModelRollout {self.name}", "Conflict")
        spec = {**self.resource["spec"], **body["spec"]}
        RolloutSpec.parse(spec)
        self.resource["spec"] = spec
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
