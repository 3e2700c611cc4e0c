"""Kubernetes events on the resource."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ResourceEvent:
    """An event as Kubernetes has it; ``reason`` is one word in camel case."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
