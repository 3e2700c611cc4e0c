"""A ``ModelRollout`` on a real API server, by kubectl."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from e2e.support.cluster import Cluster
from support.waiting import wait_until

NAME = "repurchase"


@dataclass(kw_only=True)
class LiveRollout:
    cluster: Cluster
    namespace: str
    name: str = NAME

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, seconds=60)

    def apply_spec(self, spec: dict[str, Any]) -> None:
        resource = {
            "apiVersion": "reprise.dev/v1alpha1",
            "kind": "ModelRollout",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(resource))

    def annotate(self, **annotations: str) -> None:
        """Ask the operator for something."""
        named = [f"reprise.dev/{name}={value}" for name, value in annotations.items()]
        self.kubectl("annotate", "modelrollout", self.name, *named)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get(
            "--namespace", self.namespace, "modelrollout", self.name
        ).get("status", {})
        return found

    def wait_for_phase(self, phase: str, seconds: float, digest: str | None = None) -> dict[str, Any]:
        """Return the first candidate's status once it, or the candidate of a digest, is in a phase."""
        seen: list[dict[str, Any]] = []

        def probe() -> dict[str, Any] | None:
            seen[:] = self.status.get("candidates", [])
            of_digest = [each for each in seen if digest in {None, each["digest"]}]
            return of_digest[0] if of_digest and of_digest[0]["phase"] == phase else None

        try:
            return wait_until(f"the candidate is {phase}", probe, seconds, every=0.3)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {json.dumps(seen)}") from error

    def events(self) -> list[tuple[str, str]]:
        """The reasons and messages of the events on the rollout, in order."""
        found = self.cluster.get("--namespace", self.namespace, "events.events.k8s.io")["items"]
        ours = [event for event in found if event["regarding"]["name"] == self.name]
        return [(e["reason"], e["note"]) for e in sorted(ours, key=lambda event: event["eventTime"])]
