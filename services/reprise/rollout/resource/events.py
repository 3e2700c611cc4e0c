"""What is told of a decision, as an event on the resource."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Note:
    """An event.

    Attributes:
        type: Normal or Warning, as Kubernetes has them.
        reason: Why, one word in camel case.
        message: What happened, for people.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
